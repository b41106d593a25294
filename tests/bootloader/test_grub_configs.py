"""Configurations as distributions write them lead to the kernels that GRUB would boot."""

from __future__ import annotations

from pathlib import Path

import pytest

from xenolith.bootloader.errors import BootError
from xenolith.bootloader.find import find_menu
from xenolith.bootloader.menu import Entry, Menu, choose, choose_named

from .memory import Files, volume, volumes

CONFIGS = Path(__file__).parent / "configs"
ENVIRONMENT = "# GRUB Environment Block\n{}" + "#" * 900


def menu_of(name: str, directory: str, files: Files | None = None, uuid: str = "") -> Menu:
    text = (CONFIGS / name).read_text()
    return find_menu(volumes(volume({f"{directory}/grub.cfg": text, **(files or {})}, uuid=uuid)))


def boots(entry: Entry) -> tuple[str, list[str], str]:
    assert entry.load is not None
    kernel, ramdisks, arguments = entry.load()
    return kernel.path, [file.path for file in ramdisks], arguments


def titles(menu: Menu) -> list[str]:
    return [entry.title for entry in menu.entries]


def test_debian() -> None:
    menu = menu_of("debian.cfg", "/boot/grub")
    assert menu.timeout == 5
    assert titles(menu) == ["Debian GNU/Linux", "Advanced options for Debian GNU/Linux"]
    assert boots(choose(menu)) == (
        "/boot/vmlinuz-6.1.0-40-amd64",
        ["/boot/initrd.img-6.1.0-40-amd64"],
        "root=UUID=0a1b ro quiet",
    )


@pytest.mark.parametrize(
    "saved",
    [
        "gnulinux-advanced-0a1b>gnulinux-6.1.0-39-amd64-recovery-0a1b",
        "1>1",
        "Advanced options for Debian GNU/Linux"
        ">Debian GNU/Linux, with Linux 6.1.0-39-amd64 (recovery mode)",
    ],
)
def test_debians_saved_entry(saved: str) -> None:
    environment = {"/boot/grub/grubenv": ENVIRONMENT.format(f"saved_entry={saved}\n")}
    menu = menu_of("debian.cfg", "/boot/grub", environment)
    assert boots(choose(menu))[2] == "root=UUID=0a1b ro single"


def test_the_entry_for_one_boot_comes_before_the_saved_one() -> None:
    environment = {"/boot/grub/grubenv": ENVIRONMENT.format("saved_entry=1>1\nnext_entry=0\n")}
    assert choose(menu_of("debian.cfg", "/boot/grub", environment)).title == "Debian GNU/Linux"


def test_debians_custom_entries() -> None:
    custom = "set default=mine\nmenuentry Mine --id mine { linux /mine a b; }\n"
    menu = menu_of("debian.cfg", "/boot/grub", {"/boot/grub/custom.cfg": custom})
    assert boots(choose(menu)) == ("/mine", [], "a b")


def test_ubuntu() -> None:
    menu = menu_of("ubuntu.cfg", "/grub")
    assert menu.timeout == 0
    assert choose(menu).title == "Ubuntu, with Linux 5.15.0-91-generic"
    assert boots(menu.entries[0]) == (
        "/vmlinuz-5.15.0-100-generic",
        ["/initrd.img-5.15.0-100-generic"],
        "root=/dev/mapper/ubuntu--vg-root ro quiet splash vt.handoff=7",
    )


def bls(title: str, version: str, options: str = "$kernelopts") -> str:
    return (
        f"title {title}\nversion {version}\nlinux /vmlinuz-{version}\n"
        f"initrd /initramfs-{version}.img $tuned_initrd\noptions {options}\n"
        "grub_users $grub_users\ngrub_arg --unrestricted\ngrub_class fedora\n"
    )


FEDORA = {
    "/loader/entries/ab12-0-rescue.conf": bls("Fedora (0-rescue)", "0-rescue"),
    "/loader/entries/ab12-6.8.5-301.fc40.x86_64.conf": bls("Fedora (6.8.5)", "6.8.5"),
    "/loader/entries/ab12-6.10.3-200.fc40.x86_64.conf": bls("Fedora (6.10.3)", "6.10.3"),
    "/loader/entries/notes.txt": "no entry",
}


def test_fedora() -> None:
    menu = menu_of("fedora.cfg", "/grub2", FEDORA)
    assert titles(menu) == ["Fedora (6.10.3)", "Fedora (6.8.5)", "Fedora (0-rescue)"]
    assert boots(choose(menu)) == (
        "/vmlinuz-6.10.3",
        ["/initramfs-6.10.3.img"],
        "root=UUID=ac26 ro rootflags=subvol=root rhgb quiet",
    )


def test_fedoras_environment() -> None:
    text = "saved_entry=ab12-6.8.5-301.fc40.x86_64\nkernelopts=root=/dev/vda ro x=a\\\\b\n"
    environment = {"/grub2/grubenv": ENVIRONMENT.format(text)}
    menu = menu_of("fedora.cfg", "/grub2", FEDORA | environment)
    assert boots(choose(menu)) == (
        "/vmlinuz-6.8.5",
        ["/initramfs-6.8.5.img"],
        "root=/dev/vda ro x=a\\b",
    )


def test_fedoras_boot_directory_on_the_root_file_system() -> None:
    entries = {f"/boot{path}": text for path, text in FEDORA.items()}
    menu = menu_of("fedora.cfg", "/boot/grub2", entries)
    assert len(menu.entries) == 3


def test_opensuse() -> None:
    menu = menu_of("opensuse.cfg", "/boot/grub2", uuid="5c")
    assert menu.timeout == 8
    assert boots(choose(menu)) == (
        "/boot/vmlinuz-5.14.21-default",
        ["/boot/initrd-5.14.21-default"],
        "root=UUID=5c splash=silent quiet mitigations=auto",
    )


def test_a_hypervisor_is_left_out() -> None:
    menu = menu_of("opensuse.cfg", "/boot/grub2")
    assert boots(choose_named(menu, "xen-gnulinux-simple-5c")) == (
        "/boot/vmlinuz-5.14.21-default",
        ["/boot/initrd-5.14.21-default"],
        "placeholder root=UUID=5c splash=silent",
    )


@pytest.mark.parametrize(
    "stub",
    [
        "search.fs_uuid 77 root hd0,gpt9 \nset prefix=($root)'/grub'\nconfigfile $prefix/x.cfg\n",
        "search --no-floppy --root-dev-only --fs-uuid --set=dev 77\nset prefix=($dev)/grub\n"
        "export $prefix\nconfigfile $prefix/x.cfg\n",
    ],
    ids=["debian", "fedora"],
)
def test_the_partition_of_the_efi_leads_to_another(stub: str) -> None:
    script = "search --set=root --label boot\nmenuentry Linux { linux /vmlinuz-$grub_cpu; }\n"
    efi = volume({"/EFI/some/grub.cfg": stub}, "hd0,gpt1")
    # The name is none that pygrub looks for by itself.
    files = {"/grub/x.cfg": script, "/vmlinuz-x86_64": "kernel"}
    boot = volume(files, "hd0,gpt2", uuid="77", label="boot")
    entry = choose(find_menu(volumes(volume({}, "hd0,gpt3"), efi, boot)))
    assert entry.load is not None
    assert str(entry.load().kernel) == "(hd0,gpt2)/vmlinuz-x86_64"


def test_systemd_boot_has_entries_alone() -> None:
    menu = find_menu(volumes(volume(FEDORA)))
    assert titles(menu)[0] == "Fedora (6.10.3)"


def test_no_configuration() -> None:
    with pytest.raises(BootError, match=r"no file of a boot loader is on \(hd0,gpt2\) memory"):
        find_menu(volumes(volume({"/etc/hostname": "x"})))


def test_an_entry_without_a_kernel() -> None:
    menu = find_menu(volumes(volume({"/grub/grub.cfg": "menuentry Windows { chainloader +1; }"})))
    with pytest.raises(BootError, match="the entry 'Windows' boots no Linux kernel"):
        boots(choose(menu))


def test_a_name_that_no_entry_has() -> None:
    menu = menu_of("debian.cfg", "/boot/grub")
    with pytest.raises(BootError, match="the menu has no entry '7', but 'Debian GNU/Linux', 'Adv"):
        choose_named(menu, "7")
    assert choose_named(menu, "1").title == "Debian GNU/Linux, with Linux 6.1.0-40-amd64"
