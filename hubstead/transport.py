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
from typing import Any

import paramiko

# pyinfra begins a command with `env SECRET=… sudo`; a function has no arguments to be seen
_BEGIN = b"""env() {
    while case $1 in *=*) ;; *) false ;; esac; do export "$1"; shift; done
    "$@"
}
"""


class _Channel(paramiko.Channel):
    """One that has sh(1) read its command, as the first bytes of standard input."""

    def exec_command(self, command: Any) -> None:
        script = _BEGIN + (command.encode() if isinstance(command, str) else command)
        # words that mean the same in every shell
        super().exec_command(f"exec sh -c 'eval \"$(head -c {len(script)})\"'")
        # where it has ended already, its status says more
        with contextlib.suppress(OSError):
            self.sendall(script)


class Transport(paramiko.Transport):
    """Channels of sessions are as above."""

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
