"""The access bits against a model: the guest sees who uses a grant, whatever it does to entries."""

from __future__ import annotations

from grant_guest import DATA, Guest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from xenolith.abi.grant_table import (
    GTF_permit_access,
    GTF_reading,
    GTF_readonly,
    GTF_sub_page,
    GTF_type_mask,
    GTF_writing,
)
from xenolith.hypervisor.grant_table import GrantError, GrantMapping
from xenolith.machine.address import Mfn

REFS = st.integers(6, 10)
DOMIDS = st.integers(0, 1)


class GrantUse(RuleBasedStateMachine):
    """A guest edits entries while two backends map and unmap them."""

    version = 1

    def __init__(self) -> None:
        super().__init__()
        self.guest = Guest()
        self.guest.table.set_version(self.version)
        self.entries: dict[int, tuple[int, int]] = {}
        self.mappings: dict[int, list[tuple[GrantMapping, int, bool]]] = {}

    def users(self, ref: int) -> list[tuple[GrantMapping, int, bool]]:
        return self.mappings.setdefault(ref, [])

    @rule(ref=REFS, flags=st.sampled_from([0, 1, 1, 1, 2, 3, 5, 257]), domid=DOMIDS)
    def edit(self, ref: int, flags: int, domid: int) -> None:
        # As the ABI asks, the guest leaves the bits alone that say who uses the entry.
        kept = self.guest.access(ref) if self.version == 1 else 0
        self.guest.write_entry(ref, flags | kept, domid, DATA + ref)
        self.entries[ref] = (flags, domid)

    @rule(ref=REFS, domid=DOMIDS, readonly=st.booleans())
    def map(self, ref: int, domid: int, readonly: bool) -> None:
        flags, granted_to = self.entries.get(ref, (0, 0))
        users = self.users(ref)
        writable = any(not other_readonly for _, _, other_readonly in users)
        if users:
            allowed = users[0][1] == domid
        else:
            mappable = flags & (GTF_type_mask | GTF_sub_page) == GTF_permit_access
            allowed = mappable and granted_to == domid
        if flags & GTF_readonly and not readonly and not writable:
            allowed = False
        try:
            mapping = self.guest.table.map(ref, domid, readonly)
        except GrantError:
            assert not allowed
        else:
            assert allowed
            users.append((mapping, domid, readonly))

    @precondition(lambda self: any(self.mappings.values()))
    @rule(data=st.data())
    def unmap(self, data: st.DataObject) -> None:
        users = data.draw(st.sampled_from([users for users in self.mappings.values() if users]))
        mapping, _, _ = users.pop(data.draw(st.integers(0, len(users) - 1)))
        mapping.unmap()

    @invariant()
    def the_entry_says_who_uses_it(self) -> None:
        for ref in range(6, 11):
            users = self.users(ref)
            expected = GTF_reading if users else 0
            if any(not readonly for _, _, readonly in users):
                expected |= GTF_writing
            assert self.guest.access(ref) == expected

    @invariant()
    def every_mapping_is_of_the_frame_first_granted(self) -> None:
        for ref, users in self.mappings.items():
            self.guest.frame(Mfn(DATA + ref))[0] = ref
            assert all(mapping.view[0] == ref for mapping, _, _ in users)


class GrantUseV2(GrantUse):
    version = 2


TestGrantUse = GrantUse.TestCase
TestGrantUseV2 = GrantUseV2.TestCase
TestGrantUse.settings = settings(max_examples=50, stateful_step_count=40)
TestGrantUseV2.settings = settings(max_examples=50, stateful_step_count=40)
