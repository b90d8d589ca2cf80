"""C++17, by clang-repl and the package of that name: what one cell defines the next ones have."""

from __future__ import annotations

from hubstead.parts import Kernel

_REPL = "/usr/local/bin/clang-repl"
# The package takes another standard from a file in its owner's home alone; the last one counts.
_WRITE = r"""printf '#!/bin/sh\nexec clang-repl-19 "$@" --Xcc -std=c++17\n'"""

PART = Kernel(
    packages=("clang-tools-19",),
    lock="cpp",
    program="cpp_kernel.py",
    title="C++17",
    commands=(
        f"{_WRITE} >{_REPL}",
        f"chmod 755 {_REPL}",
        # the package's own, without what programs/cpp_kernel.py adds
        "rm -r share/jupyter/kernels/clang_repl",
    ),
)
