"""The SSH transport with Nagle's algorithm off.

Every command of pyinfra is one small exchange on an SSH channel. paramiko leaves Nagle's
algorithm on, which together with delayed acknowledgements (RFC 1122, 4.2.3.2) costs some 40 ms a
command on a fast network; most of a run that changes nothing is that waiting.
"""

import socket
from typing import Any

import paramiko


def low_latency(sock: Any, **kwargs: Any) -> paramiko.Transport:
    """A transport over `sock` with TCP_NODELAY set (tcp(7)).

    A jump host's channel is no TCP socket of ours and is used as it is.
    """
    if isinstance(sock, socket.socket):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return paramiko.Transport(sock, **kwargs)


#: For host data `ssh_paramiko_connect_kwargs`: what paramiko's `SSHClient.connect` is given.
CONNECT_KWARGS = {"transport_factory": low_latency}
