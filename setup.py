"""The native extensions, for `pip install --editable .`; all else is in pyproject.toml.

SANITIZE=1 in the environment builds them under AddressSanitizer and UBSan (gcc, clang).
"""

from __future__ import annotations

import os
from glob import glob

from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext

UNIX_FLAGS = ["-O3", "-std=c++17", "-Wall", "-Wextra"]
# They change no result, but let square roots and choices be vectorised.
UNIX_FLAGS += ["-fno-math-errno", "-fno-trapping-math"]
SANITIZERS = ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined", "-g"]


class BuildExt(build_ext):
    """Chooses flags by the compiler in use."""

    def build_extensions(self) -> None:
        msvc = self.compiler.compiler_type == "msvc"
        compile_args = ["/O2", "/std:c++17"] if msvc else UNIX_FLAGS.copy()
        link_args = []
        if os.environ.get("SANITIZE") == "1":
            compile_args += SANITIZERS
            link_args += SANITIZERS
        for extension in self.extensions:
            extension.extra_compile_args = compile_args
            extension.extra_link_args = link_args
        super().build_extensions()


class NoWheel(bdist_wheel):
    """Refuses to pack what would put modules called utils and models among everyone's packages."""

    def run(self) -> None:
        raise SystemExit(
            "face-reenactment runs from its own folder, where its weights and 3DMM are: "
            "install it by `pip install --editable .`"
        )


def extension(folder: str, kernels: str, binding: str) -> Extension:
    """The module `binding` in `folder`, over the plain C++ of `kernels`."""
    return Extension(
        f"{folder}/{binding}".replace("/", "."),
        [f"{folder}/{binding}.pyx", f"{folder}/{kernels}.cpp"],
        include_dirs=[".", folder],
        depends=glob("*/lib/*.h"),
        language="c++",
    )


setup(
    cmdclass={"build_ext": BuildExt, "bdist_wheel": NoWheel},
    ext_modules=cythonize(
        [
            extension("Sim3DR/lib", "kernels", "kernels_binding"),
            extension("Sim3DR/lib", "fields", "fields_binding"),
            extension("bfm/lib", "reconstruct", "reconstruct_binding"),
        ]
    ),
)
