"""Bash, by bash_kernel."""

from __future__ import annotations

from hubstead.parts import Kernel

PART = Kernel(lock="bash", commands=("bin/python -m bash_kernel.install --sys-prefix",))
