"""What a hypercall's line says: arguments before the call, answers after it, results and errors."""

from __future__ import annotations

import re
from typing import Any

import pytest

from xenolith.abi import event_channel as ev
from xenolith.abi import grant_table as gt
from xenolith.abi import hvm_op, memory, sched, vcpu, version
from xenolith.abi.hvm_params import HvmParam
from xenolith.abi.layout import Layout
from xenolith.abi.xen import ConsoleIoOp, Hypercall, VmAssistCommand, VmAssistType
from xenolith.hypervisor.guest_access import Continuation

from .traced_domain import ARGUMENT, LIST, NOWHERE, TracedDomain

SELF = 0x7FF0
EVENT = Hypercall.event_channel_op
MEMORY = Hypercall.memory_op
GRANT = Hypercall.grant_table_op
VCPU = Hypercall.vcpu_op
HVM = Hypercall.hvm_op
SCHED = Hypercall.sched_op
VERSION = Hypercall.xen_version
FUTURE = vcpu.VCPU_SSHOTTMR_future


@pytest.mark.parametrize(
    ("number", "cmd", "layout", "fields", "shown"),
    [
        (
            EVENT, ev.EventChannelOp.bind_virq, ev.EVTCHN_BIND_VIRQ, (0, 1, 0),
            "event_channel_op(bind_virq, {virq=TIMER, vcpu=v1, port→1}) = 0",
        ),
        (
            EVENT, ev.EventChannelOp.bind_virq, ev.EVTCHN_BIND_VIRQ, (99, 1, 7),
            "event_channel_op(bind_virq, {virq=99, vcpu=v1}) = -EINVAL (VIRQ 99 of vCPU 1)",
        ),
        (
            EVENT, ev.EventChannelOp.alloc_unbound, ev.EVTCHN_ALLOC_UNBOUND, (SELF, 0, 0),
            "event_channel_op(alloc_unbound, {dom=SELF, remote_dom=0, port→1}) = 0",
        ),
        (
            EVENT, ev.EventChannelOp.send, ev.EVTCHN_SEND, (5000,),
            "event_channel_op(send, {port=5000}) = -EINVAL (port 5000 is not valid)",
        ),
        (
            EVENT, ev.EventChannelOp.init_control, ev.EVTCHN_INIT_CONTROL, (0x30, 0x80, 1, 0),
            "event_channel_op(init_control, {control_gfn=0x30, offset=0x80, vcpu=v1, link_bits→17}) = 0",
        ),
        (
            MEMORY, memory.MemoryOp.add_to_physmap, memory.XEN_ADD_TO_PHYSMAP, (SELF, 0, 0, 0, 0x50),
            "memory_op(add_to_physmap, {domid=SELF, space=shared_info, idx=0, gpfn=0x50}) = 0",
        ),
        (
            MEMORY, memory.MemoryOp.add_to_physmap, memory.XEN_ADD_TO_PHYSMAP,
            (SELF, 0, 1, memory.XENMAPIDX_grant_table_status | 2, 0x50),
            "memory_op(add_to_physmap, {domid=SELF, space=grant_table, idx=status|2, gpfn=0x50}) = -EINVAL",
        ),
        (
            MEMORY, memory.MemoryOp.add_to_physmap, memory.XEN_ADD_TO_PHYSMAP, (SELF, 2, 3, 0x40, 0x60),
            "memory_op(add_to_physmap, {domid=SELF, space=gmfn_range, idx=0x40 x2, gpfn=0x60}) = 0",
        ),
        (
            MEMORY, memory.MemoryOp.remove_from_physmap, memory.XEN_REMOVE_FROM_PHYSMAP, (7, 0x50),
            "memory_op(remove_from_physmap, {domid=7, gpfn=0x50}) = -EPERM (memory of domain 7)",
        ),
        (
            MEMORY, memory.MemoryOp.maximum_gpfn, memory.XEN_MEMORY_DOMAIN, (SELF,),
            "memory_op(maximum_gpfn, {domid=SELF}) = 0x3ff",
        ),
        (
            HVM, hvm_op.HvmOp.get_param, hvm_op.XEN_HVM_PARAM, (SELF, 0, HvmParam.STORE_PFN, 0),
            "hvm_op(get_param, {domid=SELF, index=STORE_PFN, value→0x0}) = 0",
        ),
        (
            HVM, hvm_op.HvmOp.get_param, hvm_op.XEN_HVM_PARAM, (SELF, 0, HvmParam.STORE_EVTCHN, 0),
            "hvm_op(get_param, {domid=SELF, index=STORE_EVTCHN, value→0}) = 0",
        ),
        (
            HVM, hvm_op.HvmOp.set_param, hvm_op.XEN_HVM_PARAM,
            (SELF, 0, HvmParam.CALLBACK_IRQ, 2 << 56 | 0xF3),
            "hvm_op(set_param, {domid=SELF, index=CALLBACK_IRQ, value=vector 0xf3}) = 0",
        ),
        (
            HVM, hvm_op.HvmOp.set_param, hvm_op.XEN_HVM_PARAM, (SELF, 0, 200, 5),
            "hvm_op(set_param, {domid=SELF, index=200, value=0x5}) = -EINVAL (HVM parameter 200)",
        ),
        (
            HVM, hvm_op.HvmOp.get_mem_type, hvm_op.XEN_HVM_GET_MEM_TYPE, (SELF, 0, bytes(4), 0x10),
            "hvm_op(get_mem_type, {domid=SELF, pfn=0x10, mem_type→ram_rw}) = 0",
        ),
        (
            SCHED, sched.SchedOp.shutdown_code, sched.SCHED_SHUTDOWN, (2,),
            "sched_op(shutdown_code, {reason=suspend}) = 0",
        ),
        (
            SCHED, sched.SchedOp.watchdog, sched.SCHED_WATCHDOG, (0, 30),
            "sched_op(watchdog, {id=0, timeout=30 s}) = 1",
        ),
        (
            VERSION, version.VersionOp.get_features, version.XEN_FEATURE_INFO, (1, 0),
            "xen_version(get_features, {submap_idx=1, submap→0x0}) = 0",
        ),
        (
            VERSION, version.VersionOp.platform_parameters, version.XEN_PLATFORM_PARAMETERS, (5,),
            "xen_version(platform_parameters, {virt_start→0x0}) = 0",
        ),
        (
            Hypercall.physdev_op, 12, ev.EVTCHN_SEND, (9,),
            "physdev_op(eoi, {irq=9}) = -ENOSYS (physical device operation 12)",
        ),
    ],
)  # fmt: skip
def test_struct_arguments(
    guest: TracedDomain,
    number: int,
    cmd: int,
    layout: Layout[Any],
    fields: tuple[int, ...],
    shown: str,
) -> None:
    guest.with_struct(number, cmd, layout, *fields)
    assert guest.shown().startswith(shown)


@pytest.mark.parametrize(
    ("number", "arguments", "shown"),
    [
        (VERSION, (0, 0), "xen_version(version) = 0x40011 (4.17)"),
        (VERSION, (1, ARGUMENT), 'xen_version(extraversion, ".0-xenolith") = 0'),
        (
            VERSION, (2, ARGUMENT),
            'xen_version(compile_info, {compiler→"cpython", compile_by→"xenolith", '
            'compile_domain→"", compile_date→""}) = 0',
        ),
        (VERSION, (7, 0), "xen_version(pagesize) = 4096"),
        (VERSION, (1, NOWHERE), "xen_version(extraversion, 0xdead0000) = -EFAULT"),
        (SCHED, (0, 0), "sched_op(yield) = 0"),
        (
            Hypercall.vm_assist, (VmAssistCommand.enable, VmAssistType.runstate_update_flag),
            "vm_assist(enable, runstate_update_flag) = 0",
        ),
        (Hypercall.set_timer_op, (0,), "set_timer_op(0) = 0"),
        (VCPU, (3, 1, 0), "vcpu_op(is_up, v1) = 0"),
        (VCPU, (3, 9, 0), "vcpu_op(is_up, v9) = -ENOENT (there is no vCPU 9)"),
        (HVM, (5, 0), "hvm_op(flush_tlbs, NULL) = 0"),
        (EVENT, (4, 0), "event_channel_op(send, NULL) = "),
        (EVENT, (4, NOWHERE), "event_channel_op(send, 0xdead0000<EFAULT>) = -EFAULT"),
        (EVENT, (77, ARGUMENT), "event_channel_op(77, 0x10000) = -ENOSYS"),
        (MEMORY, (5, ARGUMENT), "memory_op(machphys_mfn_list, 0x10000) = -ENOSYS"),
        (Hypercall.platform_op, (1, 2, 3, 4, 5), "platform_op(0x1, 0x2, 0x3, 0x4, 0x5) = -ENOSYS (not served)"),
        (48, (1, 2, 3, 4, 5), "hypercall_48(0x1, 0x2, 0x3, 0x4, 0x5) = -ENOSYS (not served)"),
        (
            Hypercall.console_io, (ConsoleIoOp.write, 6, ARGUMENT),
            'console_io(write, 6, "\\x00\\x00\\x00\\x00\\x00\\x00") = 0',
        ),
    ],
)  # fmt: skip
def test_register_arguments(
    guest: TracedDomain, number: int, arguments: tuple[int, ...], shown: str
) -> None:
    guest.hypercall(number, *arguments)
    assert guest.shown().startswith(shown)


def test_features_have_names(guest: TracedDomain) -> None:
    guest.with_struct(VERSION, version.VersionOp.get_features, version.XEN_FEATURE_INFO, 0, 0)
    assert "submap→writable_page_tables|auto_translated_physmap|" in guest.shown()


def test_timers_are_shown_as_seen_from_now(guest: TracedDomain) -> None:
    now = guest.domain.clock.now()
    fields = (now + 10**10, FUTURE)
    guest.write(ARGUMENT, vcpu.VCPU_SET_SINGLESHOT_TIMER.pack(vcpu.VcpuSetSingleshotTimer(*fields)))
    guest.hypercall(VCPU, vcpu.VcpuOp.set_singleshot_timer, 0, ARGUMENT)
    shown = guest.shown()
    match = re.fullmatch(
        r"vcpu_op\(set_singleshot_timer, v0, \{timeout_abs_ns=\+(9\.\d{6}) s, flags=future\}\) = 0",
        shown,
    )
    assert match, shown
    guest.hypercall(Hypercall.set_timer_op, 1)
    assert re.match(r"set_timer_op\(-\d+\.\d+ [um]s\) = 0", guest.shown())


def test_runstate(guest: TracedDomain) -> None:
    guest.hypercall(VCPU, vcpu.VcpuOp.get_runstate_info, 1, ARGUMENT)
    assert re.fullmatch(
        r"vcpu_op\(get_runstate_info, v1, \{state→offline, state_entry_time→0\.\d{9} s, "
        r"time→\[0\.0 us, 0\.0 us, 0\.0 us, .*\]\}\) = 0",
        guest.shown(),
    )


def test_lists_show_their_beginning(guest: TracedDomain) -> None:
    gfns = range(0x100, 0x106)
    guest.write(LIST, b"".join(gfn.to_bytes(8, "little") for gfn in gfns))
    reservation = memory.XEN_MEMORY_RESERVATION
    guest.with_struct(
        MEMORY, memory.MemoryOp.decrease_reservation, reservation, LIST, 6, 0, 0, SELF
    )
    assert guest.shown() == (
        "memory_op(decrease_reservation, {extent_start=[0x100, 0x101, 0x102, 0x103, ...], "
        "nr_extents=6, extent_order=0, mem_flags=0x0, domid=SELF}) = 6"
    )
    guest.with_struct(MEMORY, memory.MemoryOp.populate_physmap, reservation, NOWHERE, 1, 0, 0, SELF)
    assert "extent_start=0xdead0000<EFAULT>, nr_extents=1" in guest.shown()


def test_polled_ports(guest: TracedDomain) -> None:
    guest.write(LIST, b"".join(port.to_bytes(4, "little") for port in (3, 4)))
    guest.with_struct(SCHED, sched.SchedOp.poll, sched.SCHED_POLL, LIST, 2, 0)
    assert guest.shown() == (
        "sched_op(poll, {ports=[3, 4], nr_ports=2, timeout=0}) = -EINVAL (port 3 is not bound)"
    )


def test_answers_in_lists(guest: TracedDomain) -> None:
    guest.domain.memory_map = (
        memory.E820Entry(0, 0xA0000, 1),
        memory.E820Entry(0xFC000000, 0x1000, 4),
    )
    guest.with_struct(MEMORY, memory.MemoryOp.memory_map, memory.XEN_MEMORY_MAP, 128, LIST)
    assert guest.shown() == (
        "memory_op(memory_map, {nr_entries=128→2, buffer→[{addr=0x0, size=0xa0000, type=RAM}, "
        "{addr=0xfc000000, size=0x1000, type=NVS}]}) = 0"
    )
    batch = memory.XEN_ADD_TO_PHYSMAP_BATCH
    lists = (LIST, LIST + 64, LIST + 128)
    guest.write(LIST, b"".join(word.to_bytes(8, "little") for word in (0x200, 0x201)))
    guest.write(LIST + 64, b"".join(word.to_bytes(8, "little") for word in (0x300, 1 << 40)))
    guest.with_struct(MEMORY, memory.MemoryOp.add_to_physmap_batch, batch, SELF, 2, 2, 0, *lists)
    assert guest.shown() == (
        "memory_op(add_to_physmap_batch, {domid=SELF, space=gmfn, size=2, foreign_domid=0, "
        "idxs=[0x200, 0x201], gpfns=[0x300, 0x10000000000], errs→[0, -EINVAL]}) = 0"
    )


def test_grant_operations(guest: TracedDomain) -> None:
    guest.with_struct(GRANT, gt.GrantTableOp.query_size, gt.GNTTAB_QUERY_SIZE, SELF, 0, 0, 0)
    assert guest.shown().startswith("grant_table_op(query_size x0, []) = -EINVAL (0 operations")
    guest.hypercall(GRANT, gt.GrantTableOp.query_size, ARGUMENT, 1)
    assert guest.shown() == (
        "grant_table_op(query_size, {dom=SELF, nr_frames→1, max_nr_frames→64, status→okay}) = 0"
    )
    ask = gt.GnttabMapGrantRef(0x123000, gt.GNTMAP_host_map | gt.GNTMAP_readonly, 3, 0, 0, 0, 0)
    guest.write(ARGUMENT, 2 * gt.GNTTAB_MAP_GRANT_REF.pack(ask))
    guest.hypercall(GRANT, gt.GrantTableOp.map_grant_ref, ARGUMENT, 2)
    one = (
        "{host_addr=0x123000, flags=host_map|readonly, ref=3, dom=0, status→general_error, handle→0, "
        "dev_bus_addr→0x0}"
    )
    assert guest.shown() == f"grant_table_op(map_grant_ref x2, [{one}, {one}]) = 0"


def test_grant_copies(guest: TracedDomain) -> None:
    copy = gt.GnttabCopy(
        gt.GnttabCopyPtr(5, 0, 0x10), gt.GnttabCopyPtr(0x77, SELF, 0), 64, gt.GNTCOPY_source_gref, 0
    )
    guest.write(ARGUMENT, gt.GNTTAB_COPY.pack(copy))
    guest.hypercall(GRANT, gt.GrantTableOp.copy, ARGUMENT, 1)
    assert guest.shown() == (
        "grant_table_op(copy, {source={ref=5, domid=0, offset=0x10}, dest={gmfn=0x77, domid=SELF, "
        "offset=0x0}, len=64, flags=source_gref, status→general_error}) = 0"
    )


def test_continuations_are_marked_and_go_on(guest: TracedDomain) -> None:
    count = 600
    guest.write(LIST, b"".join((0x100).to_bytes(8, "little") for _ in range(count)))
    reservation = memory.XEN_MEMORY_RESERVATION
    op = memory.MemoryOp.populate_physmap
    rest = guest.with_struct(MEMORY, op, reservation, LIST, count, 0, 0, SELF)
    assert guest.shown().endswith("domid=SELF}) = <continued>")
    assert isinstance(rest, Continuation)
    guest.hypercall(MEMORY, *rest.arguments)
    shown = guest.shown()
    assert shown.startswith("memory_op(populate_physmap from 512, {extent_start=[0x100, ")
    assert shown.endswith(") = 600")


def test_inputs_are_those_before_the_call(guest: TracedDomain) -> None:
    """The answer overwrites nothing that is shown as asked."""
    hvm = hvm_op.XEN_HVM_PARAM
    guest.domain.params.set(HvmParam.STORE_PFN, 0xFEFFC)
    guest.with_struct(HVM, hvm_op.HvmOp.get_param, hvm, SELF, 0, HvmParam.STORE_PFN, 0x1234)
    assert guest.shown() == "hvm_op(get_param, {domid=SELF, index=STORE_PFN, value→0xfeffc}) = 0"


def test_console_text(guest: TracedDomain) -> None:
    text = b'say "hi" = 1 <2.0 us>\n' + bytes(range(1, 5)) + b"\xff"
    guest.write(ARGUMENT, text)
    guest.hypercall(Hypercall.console_io, ConsoleIoOp.write, len(text), ARGUMENT)
    assert guest.shown() == (
        f'console_io(write, {len(text)}, "say \\"hi\\" = 1 <2.0 us>\\n\\x01\\x02\\x03\\x04\\xff") = 0'
    )
    assert guest.events.output == text
    guest.hypercall(Hypercall.console_io, ConsoleIoOp.write, 3000, LIST)
    assert guest.shown().endswith('\\x00"...) = 0')


def test_calls_of_32_bits_have_structs_of_their_own(guest: TracedDomain) -> None:
    guest.domain.vcpus[0].paging.word = 4
    guest.write(LIST, (0x40).to_bytes(4, "little") + (0x41).to_bytes(4, "little"))
    reservation = memory.XEN_MEMORY_RESERVATION.compat
    guest.with_struct(
        MEMORY, memory.MemoryOp.decrease_reservation, reservation, LIST, 2, 0, 0, SELF
    )
    assert guest.shown() == (
        "memory_op(decrease_reservation, {extent_start=[0x40, 0x41], nr_extents=2, extent_order=0, "
        "mem_flags=0x0, domid=SELF}) = 2"
    )
    guest.hypercall(Hypercall.set_timer_op, guest.domain.clock.now() & 0xFFFFFFFF, 5)
    assert re.match(r"set_timer_op\(\+21\.\d+ s\) = 0", guest.shown())


def test_a_new_memory_map_is_shown(guest: TracedDomain) -> None:
    guest.write(LIST, memory.E820_ENTRY.pack(memory.E820Entry(0, 1 << 20, 1)))
    layout = memory.XEN_FOREIGN_MEMORY_MAP
    guest.with_struct(
        MEMORY, memory.MemoryOp.set_memory_map, layout, SELF, memory.XenMemoryMap(1, LIST)
    )
    assert guest.shown() == (
        "memory_op(set_memory_map, {domid=SELF, map={nr_entries=1, "
        "buffer=[{addr=0x0, size=0x100000, type=RAM}]}}) = 0"
    )
