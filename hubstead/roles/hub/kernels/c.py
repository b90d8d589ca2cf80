"""C11, by jupyter-c-kernel and GCC: each cell is a whole program."""

from __future__ import annotations

from hubstead.parts import Kernel

PART = Kernel(
    # the index has the package as source alone, which setuptools build
    packages=("gcc", "libc6-dev", "python3-setuptools", "python3-wheel"),
    lock="c",
    program="c_kernel.py",
    title="C",
)
