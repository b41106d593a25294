"""What Python has of the structures and numbers of the PV engines' C code, against that code's headers."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest

import xenolith
from xenolith.engine.kvm.pv import ring_0
from xenolith.engine.kvm.pv.traps import COUNTERS, KvmTrapContext, KvmVcpuState
from xenolith.engine.pv_traps import numbers
from xenolith.engine.pv_traps.calls import CRASHES
from xenolith.engine.pv_traps.structures import Gate, TrapContext, VcpuState
from xenolith.engine.unicorn.pv.traps import UnicornTrapContext, UnicornVcpuState

ENGINES = Path(xenolith.__file__).parent / "engine"
RENAMED = {"raise_event": "raise"}
"""Fields whose names Python keeps for itself."""
CRASH_NAMES = (
    "BAD_STACK", "NO_HANDLER", "BAD_IRET_FRAME", "NO_USER_PAGE_TABLE", "FAULT_IN_RING_0"
)  # fmt: skip
SHARED_NUMBERS = {
    **{name: number for number, name in enumerate(CRASH_NAMES, 1)},
    **{f"SEG_{name}": getattr(numbers, name) for name in ("ES", "CS", "SS", "DS", "FS", "GS")},
    "TABLE_PAGES": numbers.TABLE_PAGES,
    "CR0_TS": numbers.CR0_TS,
    "SYSCALL_BYTES": numbers.SYSCALL_BYTES,
}


class Engine(NamedTuple):
    name: str
    vcpu: type[VcpuState]
    context: type[TrapContext]
    numbers: dict[str, int]


KVM = Engine(
    "kvm",
    KvmVcpuState,
    KvmTrapContext,
    {
        "COUNTERS": len(COUNTERS),
        "RING0_CS": ring_0.CODE_SELECTOR,
        "RING0_SS": ring_0.STACK_SELECTOR,
        "SYSCALL_PORT": ring_0.CALL_PORTS[0],
        "SYSCALL32_ENTRY": ring_0.SYSCALL32_ENTRY,
        "STUB_BYTES * VECTORS": len(ring_0.trap_stubs()),
    },
)
UNICORN = Engine("unicorn", UnicornVcpuState, UnicornTrapContext, {})


def offsets(
    struct: str, base: type[ctypes.Structure], whole: type[ctypes.Structure]
) -> dict[str, int]:
    """Where Python has each field, by the C expression for that."""
    found = {f"sizeof(struct {struct})": ctypes.sizeof(whole)}
    for prefix, fields in (("", base._fields_), ("engine.", whole._fields_)):
        if prefix and whole is base:
            continue
        for name, *_ in fields:
            question = f"offsetof(struct {struct}, {prefix}{RENAMED.get(name, name)})"
            found[question] = getattr(whole, name).offset
    return found


@pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler")
@pytest.mark.parametrize("engine", [KVM, UNICORN], ids=lambda engine: engine.name)
def test_python_has_what_c_has(tmp_path: Path, engine: Engine) -> None:
    ours = {
        **offsets("gate", Gate, Gate),
        **offsets("vcpu", VcpuState, engine.vcpu),
        **offsets("trap_context", TrapContext, engine.context),
        **SHARED_NUMBERS,
        **engine.numbers,
    }
    lines = "".join(f'printf("%llu\\n", (unsigned long long)({each}));\n' for each in ours)
    source = tmp_path / "layout.c"
    source.write_text(
        f'#include "{ENGINES / engine.name / "pv" / "engine_context.h"}"\n'
        f"#include <stddef.h>\n#include <stdio.h>\nint main(void)\n{{\n{lines}return 0;\n}}\n"
    )
    subprocess.run(["cc", "-std=c11", "-o", tmp_path / "layout", source], check=True)
    answers = subprocess.run([tmp_path / "layout"], check=True, capture_output=True, text=True)
    told = [int(line) for line in answers.stdout.split()]
    assert ours == dict(zip(ours, told, strict=True))


def test_every_crash_has_its_words() -> None:
    assert set(CRASHES) == set(range(1, len(CRASH_NAMES) + 1))
