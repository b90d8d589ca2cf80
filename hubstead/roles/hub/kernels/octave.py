"""Octave, by octave_kernel. Without a screen, gnuplot draws, and Ghostscript and a font with it."""

from __future__ import annotations

from hubstead.parts import Kernel

PART = Kernel(
    packages=("octave", "gnuplot-nox", "ghostscript", "fonts-freefont-otf"),
    lock="octave",
    program="octave_kernel.py",
    title="Octave",
)
