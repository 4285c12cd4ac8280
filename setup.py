"""Compiles the attention kernel, where there is a C compiler; everything else stands in pyproject.toml."""

import os

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

# Not a Python module but a shared library, which dinonat/models/kernel.py loads: it fits any Python.
KERNEL = Extension(
    "dinonat.models._kernel",
    ["toolkit/models/neighborhood.c"],
    extra_compile_args=["-O3", "-g0", "-Wno-psabi", "-fvisibility=hidden"],
    libraries=["m"],
    py_limited_api=True,
    optional=True,
)


class BuildIfPossible(build_ext):
    """An editable installation looks for the library even where it is optional and was not built."""

    def get_outputs(self) -> list[str]:
        """Name only what was built."""
        return [path for path in super().get_outputs() if os.path.exists(path)]

    def get_output_mapping(self) -> dict[str, str]:
        """Name only what was built, and where it goes."""
        return {built: to for built, to in super().get_output_mapping().items() if os.path.exists(built)}


setup(ext_modules=[KERNEL], cmdclass={"build_ext": BuildIfPossible})
