"""Builds the engine's C hooks; everything else is declared in pyproject.toml."""

from setuptools import Extension, setup

# A plain shared library, loaded by ctypes: it needs a C compiler but no Python headers.
HOOKS = Extension(
    "xenolith.engine.unicorn._hooks",
    sources=["src/xenolith/engine/unicorn/_hooks.c"],
    extra_compile_args=["-O2", "-Wall", "-Wextra", "-std=c11"],
)

setup(ext_modules=[HOOKS])
