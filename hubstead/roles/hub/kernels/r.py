"""R, by Debian's own IRkernel."""

from __future__ import annotations

from hubstead.parts import Kernel

PART = Kernel(packages=("r-cran-irkernel",))
