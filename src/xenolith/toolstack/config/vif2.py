"""The strings of ``vif2=``, by which xl of Xen 4.0 gave a domain interfaces that speak netchannel2.

Their own keywords are those of parse_config_data() in that xl; all others are those of ``vif=``.
"""

from __future__ import annotations

import dataclasses

from xenolith.toolstack.config.nic import NicConfig, NicProtocol, parse_nic

_FLAGS = ("trusted", "back_trusted", "filter_mac", "front_filter_mac")
_WITHOUT_EFFECT = ("back_mac", "pdev", "max_bypasses")
"""The backend has no address and no interface on the host, and offers no bypasses."""


def parse_vif2(specification: str) -> NicConfig:
    """The interface that one string of ``vif2=`` describes; ValueError says what is wrong with it."""
    flags: dict[str, bool] = {}
    others: list[str] = []
    for parameter in specification.split(","):
        key, _, value = parameter.strip(" ").partition("=")
        if key in _FLAGS:
            if value not in ("0", "1"):
                raise ValueError(f"{key} '{value}' is neither 0 nor 1")
            flags[key] = value == "1"
        elif key == "front_mac":
            others.append(f"mac={value}")
        elif key not in _WITHOUT_EFFECT:
            others.append(parameter)
    nic = parse_nic(",".join(others))
    # As in xend: whoever is not trusted is kept to his own address.
    trusted = flags.get("trusted", False)
    filtered = flags.get("filter_mac", not trusted)
    return dataclasses.replace(
        nic, protocol=NicProtocol.NETCHANNEL2, trusted=trusted, filter_mac=filtered
    )
