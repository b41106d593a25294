"""What tests of the KVM engine need of the host: /dev/kvm, or a reason to be skipped."""

from __future__ import annotations

import pytest

from xenolith.engine.hvm import EngineError
from xenolith.engine.kvm.device import KvmDevice


def device() -> KvmDevice:
    """An open /dev/kvm."""
    try:
        return KvmDevice.open()
    except EngineError as error:
        pytest.skip(str(error))
