"""The keys bootloader and bootloader_args of an xl.cfg, and those that mean something else beside them."""

from __future__ import annotations

import pytest

from xenolith.toolstack.config import ConfigError
from xenolith.toolstack.config.load import Loaded, loads

BASE = "name='d'\ndisk=['disk.img,raw,xvda,w']\n"


def loaded(text: str) -> Loaded:
    return loads(BASE + text)


@pytest.mark.parametrize("program", ["pygrub", "/usr/bin/pygrub", "/usr/lib/xen-4.17/bin/pygrub"])
def test_pygrub_is_built_in_wherever_xen_has_it(program: str) -> None:
    config, warnings = loaded(f"bootloader='{program}'")
    assert config.bootloader == program
    assert (config.kernel, warnings) == (None, ())


def test_files_beside_it_are_in_the_guests_disk() -> None:
    config, _ = loaded(
        "bootloader='pygrub'\nkernel='/no/such/kernel'\nramdisk='/no/such/ramdisk'\n"
    )
    assert (config.kernel, config.ramdisk) == ("/no/such/kernel", "/no/such/ramdisk")


def test_the_command_line_is_kept_for_it() -> None:
    config, warnings = loaded("bootloader='pygrub'\nroot='/dev/xvda1'\nextra='quiet'\n")
    assert (config.cmdline, warnings) == ("root=/dev/xvda1 quiet", ())


def test_arguments_as_a_list_and_as_a_string() -> None:
    for arguments in ("['--entry=1>2', '-q']", "'--entry=1>2 -q'"):
        config, _ = loaded(f"bootloader='pygrub'\nbootloader_args={arguments}\n")
        assert config.bootloader_args == ("--entry=1>2", "-q")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("bootloader='/usr/bin/eliloader'", "'pygrub' is the only one, not '/usr/bin/eliloader'"),
        ("bootloader='pygrub'\nfirmware='pvgrub64'", "both bootloader and firmware are given"),
        ("bootloader='pygrub'\nbootloader_args='--nonsense'", "option --nonsense not recognized"),
        ("bootloader='pygrub'\nbootloader_args='--offset=x'", "--offset needs a number, not 'x'"),
        ("bootloader='pygrub'\nbootloader_args='-l'", "these are no options that lead to a kernel"),
        ("bootloader='pygrub'\nbootloader_args='a.img'", "these are no options that lead to"),
    ],
)
def test_mistakes(text: str, why: str) -> None:
    with pytest.raises(ConfigError) as error:
        loaded(text)
    assert why in str(error.value)
