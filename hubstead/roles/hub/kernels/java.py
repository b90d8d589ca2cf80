"""Java, by JJava and Debian's JDK."""

from __future__ import annotations

from hubstead.parts import Kernel

PART = Kernel(packages=("default-jdk-headless",), lock="java")
