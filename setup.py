"""Builds the C code of engine and hypervisor; everything else is declared in pyproject.toml."""

from glob import glob

from setuptools import Extension, setup

HEADERS = glob("src/xenolith/**/*.h", recursive=True)

# Plain shared libraries, loaded by ctypes: they need a C compiler but no Python headers.
LIBRARIES = [
    Extension(
        f"xenolith.{name}",
        sources=[f"src/xenolith/{name.replace('.', '/')}.c"],
        depends=HEADERS,
        extra_compile_args=["-O2", "-Wall", "-Wextra", "-std=c11"],
    )
    for name in (
        "backends.block._requests",
        "engine.kvm.pv._run",
        "engine.unicorn._hooks",
        "engine.unicorn._short_cuts",
        "engine.unicorn.pv._pauses",
        "engine.unicorn.pv._traps",
        "hypervisor.grant_table._grants",
        "hypervisor.pv._mmu",
    )
]

setup(ext_modules=LIBRARIES)
