"""The structures and numbers of engine/kvm/api.py against the kernel's own header, by a C program."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from pathlib import Path

import pytest

from xenolith.engine.kvm import api, structures

STRUCTURES = {
    "kvm_segment": structures.Segment,
    "kvm_dtable": structures.Table,
    "kvm_sregs": structures.SpecialRegisters,
    "kvm_regs": structures.GeneralRegisters,
    "kvm_vcpu_events": structures.VcpuEvents,
    "kvm_userspace_memory_region": structures.MemoryRegion,
    "kvm_enable_cap": structures.EnableCap,
    "kvm_interrupt": structures.Interrupt,
    "kvm_cpuid_entry2": structures.CpuidEntry,
    "kvm_msr_entry": structures.Msr,
    "kvm_msr_filter_range": structures.MsrFilterRange,
    "kvm_msr_filter": structures.MsrFilter,
    "kvm_device_attr": structures.DeviceAttribute,
    "kvm_fpu": structures.Fpu,
    "kvm_xen_exit": structures.XenExit,
    "kvm_xen_hvm_config": structures.XenConfig,
    "kvm_debugregs": structures.DebugRegisters,
    "kvm_xcr": structures.ExtendedControlRegister,
    "kvm_xcrs": structures.ExtendedControlRegisters,
}
RUN_FIELDS = {
    "exit_reason": structures.Run.exit_reason.offset,
    "if_flag": structures.Run.if_flag.offset,
    "io": structures.Run.exit.offset,
    "io.data_offset": structures.Run.exit.offset + structures.IoExit.data_offset.offset,
    "mmio.is_write": structures.Run.exit.offset + structures.MmioExit.is_write.offset,
    "msr.data": structures.Run.exit.offset + structures.MsrExit.data.offset,
    "internal.data": structures.Run.exit.offset + structures.InternalError.data.offset,
    "xen.u.hcall.result": structures.Run.exit.offset + structures.XenExit.result.offset,
    "kvm_valid_regs": structures.Run.kvm_valid_regs.offset,
    "s.regs": structures.Run.s.offset,
    "s.regs.sregs": structures.Run.s.offset + structures.SyncedRegisters.sregs.offset,
    "s.regs.events": structures.Run.s.offset + structures.SyncedRegisters.events.offset,
}
NUMBERS = {
    name: value
    for name, value in vars(api).items()
    if name.startswith("KVM_") and isinstance(value, int)
}


@pytest.mark.skipif(
    shutil.which("cc") is None or not Path("/usr/include/linux/kvm.h").exists(),
    reason="needs a C compiler and linux/kvm.h",
)
def test_all_is_as_in_the_kernels_header(tmp_path: Path) -> None:
    questions = [f"sizeof(struct {name})" for name in STRUCTURES]
    questions += [f"offsetof(struct kvm_run, {name})" for name in RUN_FIELDS]
    questions += list(NUMBERS)
    lines = "".join(f'printf("%llu\\n", (unsigned long long)({q}));\n' for q in questions)
    source = tmp_path / "header.c"
    source.write_text(
        "#include <linux/kvm.h>\n#include <stddef.h>\n#include <stdio.h>\n"
        f"int main(void)\n{{\n{lines}return 0;\n}}\n"
    )
    subprocess.run(["cc", "-o", tmp_path / "header", source], check=True)
    answers = subprocess.run([tmp_path / "header"], check=True, capture_output=True, text=True)
    ours = [ctypes.sizeof(structure) for structure in STRUCTURES.values()]
    ours += [*RUN_FIELDS.values(), *NUMBERS.values()]
    told = [int(line) for line in answers.stdout.split()]
    assert dict(zip(questions, ours, strict=True)) == dict(zip(questions, told, strict=True))
