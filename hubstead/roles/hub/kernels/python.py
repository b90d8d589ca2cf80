"""Python, which the image has: what people's servers themselves are written in."""

from __future__ import annotations

from hubstead.parts import Kernel

PART = Kernel()
