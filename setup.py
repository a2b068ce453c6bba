"""Build the native extension: python setup.py build_ext --inplace

SANITIZE=1 in the environment builds it under AddressSanitizer and UBSan (gcc, clang).
"""

from __future__ import annotations

import os

from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

SANITIZERS = ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined", "-g"]


class BuildExt(build_ext):
    """Chooses flags by the compiler in use."""

    def build_extensions(self) -> None:
        msvc = self.compiler.compiler_type == "msvc"
        compile_args = ["/O2", "/std:c++17"] if msvc else ["-O3", "-std=c++17", "-Wall", "-Wextra"]
        link_args = []
        if os.environ.get("SANITIZE") == "1":
            compile_args += SANITIZERS
            link_args += SANITIZERS
        for extension in self.extensions:
            extension.extra_compile_args = compile_args
            extension.extra_link_args = link_args
        super().build_extensions()


setup(
    cmdclass={"build_ext": BuildExt},
    ext_modules=cythonize(
        [
            Extension(
                "Sim3DR.lib.kernels_binding",
                ["Sim3DR/lib/kernels_binding.pyx", "Sim3DR/lib/kernels.cpp"],
                include_dirs=["Sim3DR/lib"],
                depends=["Sim3DR/lib/kernels.h"],
                language="c++",
            )
        ]
    ),
)
