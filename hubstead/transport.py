"""The SSH transport: without Nagle's algorithm, and the same whatever the user's login shell is.

Every command of pyinfra is one small exchange on an SSH channel. paramiko leaves Nagle's
algorithm on, which together with delayed acknowledgements (RFC 1122, 4.2.3.2) costs some 40 ms a
command on a fast network; most of a run that changes nothing is that waiting.

sshd has the user's login shell read the command (sshd(8), LOGIN PROCESS), and pyinfra's are those
of a POSIX shell: fish reads other things in them, and tcsh nothing at all. Anybody on the host sees
a command as it is running (proc(5), cmdline), and pyinfra writes a password for sudo into it.
"""

import contextlib
import socket
from functools import cached_property
from pathlib import PurePosixPath
from typing import Any

import paramiko

# pyinfra begins a command with `env SECRET=… sudo`; a function has no arguments to be seen
_BEGIN = b"""env() {
    while case $1 in *=*) ;; *) false ;; esac; do export "$1"; shift; done
    "$@"
}
"""


#: Login shells that read a command as sh(1) does
_POSIX = {"sh", "bash", "dash"}


class _Channel(paramiko.Channel):
    """One that has sh(1) read its command, as the first bytes of standard input.

    That costs some milliseconds: it is left out where the login shell will do, and nothing is to
    be hidden.
    """

    def exec_command(self, command: Any) -> None:
        text = command.encode() if isinstance(command, str) else command
        transport: Any = self.transport
        if transport.has_posix_shell and b"PASSWORD=" not in text:
            super().exec_command(command)
            return
        script = _BEGIN + text
        # words that mean the same in every shell
        super().exec_command(f"exec sh -c 'eval \"$(head -c {len(script)})\"'")
        # where it has ended already, its status says more
        with contextlib.suppress(OSError):
            self.sendall(script)


class Transport(paramiko.Transport):
    """Channels of sessions are as above."""

    @cached_property
    def has_posix_shell(self) -> bool:
        """By what sshd says that it is (sshd(8), LOGIN PROCESS)."""
        channel = super().open_session()
        channel.exec_command("printenv SHELL")
        said: str = channel.makefile().read().decode(errors="replace").strip()
        channel.close()
        return PurePosixPath(said.rpartition("\n")[2]).name in _POSIX

    def open_session(self, *args: Any, **kwargs: Any) -> paramiko.Channel:
        channel = super().open_session(*args, **kwargs)
        channel.__class__ = _Channel
        return channel


def low_latency(sock: Any, **kwargs: Any) -> Transport:
    """A transport over `sock` with TCP_NODELAY set (tcp(7)).

    A jump host's channel is no TCP socket of ours and is used as it is.
    """
    if isinstance(sock, socket.socket):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return Transport(sock, **kwargs)


#: For host data `ssh_paramiko_connect_kwargs`: what paramiko's `SSHClient.connect` is given.
CONNECT_KWARGS = {"transport_factory": low_latency}
