"""Builds the engine's C code; everything else is declared in pyproject.toml."""

from setuptools import Extension, setup

# Plain shared libraries, loaded by ctypes: they need a C compiler but no Python headers.
ENGINE = [
    Extension(
        f"xenolith.engine.unicorn.{name}",
        sources=[f"src/xenolith/engine/unicorn/{name.replace('.', '/')}.c"],
        extra_compile_args=["-O2", "-Wall", "-Wextra", "-std=c11"],
    )
    for name in ("_hooks", "_short_cuts", "pv._traps")
]

setup(ext_modules=ENGINE)
