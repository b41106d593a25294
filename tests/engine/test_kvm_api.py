"""The structures and numbers of engine/kvm/api.py against the kernel's own header, by a C program."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from pathlib import Path

import pytest

from xenolith.engine.kvm import api
from xenolith.engine.kvm.structures import machine, registers, run_page

STRUCTURES = {
    "kvm_segment": registers.Segment,
    "kvm_dtable": registers.Table,
    "kvm_sregs": registers.SpecialRegisters,
    "kvm_regs": registers.GeneralRegisters,
    "kvm_vcpu_events": registers.VcpuEvents,
    "kvm_userspace_memory_region": machine.MemoryRegion,
    "kvm_enable_cap": machine.EnableCap,
    "kvm_interrupt": registers.Interrupt,
    "kvm_cpuid_entry2": machine.CpuidEntry,
    "kvm_msr_entry": registers.Msr,
    "kvm_msr_filter_range": machine.MsrFilterRange,
    "kvm_msr_filter": machine.MsrFilter,
    "kvm_device_attr": machine.DeviceAttribute,
    "kvm_fpu": registers.Fpu,
    "kvm_xen_exit": run_page.XenExit,
    "kvm_xen_hvm_config": machine.XenConfig,
    "kvm_debugregs": registers.DebugRegisters,
    "kvm_xcr": registers.ExtendedControlRegister,
    "kvm_xcrs": registers.ExtendedControlRegisters,
}
RUN_FIELDS = {
    "exit_reason": run_page.Run.exit_reason.offset,
    "if_flag": run_page.Run.if_flag.offset,
    "io": run_page.Run.exit.offset,
    "io.data_offset": run_page.Run.exit.offset + run_page.IoExit.data_offset.offset,
    "mmio.is_write": run_page.Run.exit.offset + run_page.MmioExit.is_write.offset,
    "msr.data": run_page.Run.exit.offset + run_page.MsrExit.data.offset,
    "internal.data": run_page.Run.exit.offset + run_page.InternalError.data.offset,
    "xen.u.hcall.result": run_page.Run.exit.offset + run_page.XenExit.result.offset,
    "kvm_valid_regs": run_page.Run.kvm_valid_regs.offset,
    "s.regs": run_page.Run.s.offset,
    "s.regs.sregs": run_page.Run.s.offset + run_page.SyncedRegisters.sregs.offset,
    "s.regs.events": run_page.Run.s.offset + run_page.SyncedRegisters.events.offset,
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
