"""Programs that are copied to the hosts: single files below programs/, with nothing rendered in.

What differs from host to host is an argument, a variable in the unit or a file that they read.
Python's have names that can be imported, so that linters and tests see them; the host's have none
of the suffixes.
"""

from pathlib import Path

ROOT = Path(__file__).parents[1] / "programs"


def program(name: str) -> str:
    """The text of `programs/NAME`, which goes to hosts as it is."""
    return (ROOT / name).read_text()
