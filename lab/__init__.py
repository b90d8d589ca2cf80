"""Throwaway Debian hosts on this machine, for trying and testing Hubstead. See docs/lab.md."""

from lab.api import Lab
from lab.state import LabError

__all__ = ["Lab", "LabError"]
