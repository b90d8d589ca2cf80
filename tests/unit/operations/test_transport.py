"""Commands as login shells get them, and as a shell of ours reads them."""

from __future__ import annotations

import shlex
import subprocess
from typing import Any
from unittest.mock import patch

import paramiko
import pytest

from hubstead.transport import _Channel


def run(command: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    """What sshd would do with what the channel sends."""
    sent: list[Any] = []
    with (
        patch.object(paramiko.Channel, "exec_command", lambda self, text: sent.append(text)),
        patch.object(paramiko.Channel, "sendall", lambda self, data: sent.append(data)),
    ):
        _Channel(1).exec_command(command)
    outer, script = sent
    return subprocess.run(["sh", "-c", outer], input=script + stdin, capture_output=True)


@pytest.mark.parametrize(
    "command",
    ["printf %s 'a\\\\b'", "printf 'two\nlines\n'", "printf %s\\\\n 'ä! $HOME `x`'", "exit 3"],
)
def test_a_command_is_as_it_was(command: str) -> None:
    plain, ours = subprocess.run(["sh", "-c", command], capture_output=True), run(command)
    assert (ours.returncode, ours.stdout, ours.stderr) == (
        plain.returncode,
        plain.stdout,
        plain.stderr,
    )


def test_standard_input_is_what_follows() -> None:
    assert run("cat", b"x" * 100000).stdout == b"x" * 100000


def test_a_secret_is_in_no_arguments() -> None:
    look = "cat /proc/$PPID/cmdline /proc/self/cmdline; echo $SECRET"
    out = run(f"env OTHER=1 SECRET='quite so' sh -c {shlex.quote(look)}").stdout.decode()
    assert out.count("quite so") == 1 and out.endswith("quite so\n")
