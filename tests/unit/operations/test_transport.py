"""Commands as login shells get them, and as a shell of ours reads them."""

from __future__ import annotations

import shlex
import subprocess
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import paramiko
import pytest

from hubstead.transport import _Channel


def run(
    command: str, stdin: bytes = b"", posix: bool = False
) -> subprocess.CompletedProcess[bytes]:
    """What sshd would do with what the channel sends."""
    sent: list[Any] = []
    channel = _Channel(1)
    channel.transport = SimpleNamespace(has_posix_shell=posix)
    with (
        patch.object(paramiko.Channel, "exec_command", lambda self, text: sent.append(text)),
        patch.object(paramiko.Channel, "sendall", lambda self, data: sent.append(data)),
    ):
        channel.exec_command(command)
    outer, script = [*sent, b""][:2]
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


def test_a_shell_that_will_do_reads_it_itself() -> None:
    assert run("echo $0 $#", posix=True).stdout == b"sh 0\n"


def test_standard_input_is_what_follows() -> None:
    assert run("cat", b"x" * 100000).stdout == b"x" * 100000


def test_a_secret_is_in_no_arguments() -> None:
    look = "cat /proc/$PPID/cmdline /proc/self/cmdline; echo $SUDO_PASSWORD"
    command = f"env OTHER=1 SUDO_PASSWORD='quite so' sh -c {shlex.quote(look)}"
    out = run(command, posix=True).stdout.decode()
    assert out.count("quite so") == 1 and out.endswith("quite so\n")
