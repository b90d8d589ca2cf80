"""A network for a browser alone, out of which a SOCKS proxy of the tests is the only way.

Chromium cuts its connections whenever an interface or an address comes or goes in its network
namespace (ERR_NETWORK_CHANGED), as those of other lab hosts do at any time, and it has no switch
against that. This namespace has no name, and nothing in it leads out: the kernel removes it with
the last process that is in it or holds it, however that ends.
"""

from __future__ import annotations

import ctypes
import os
import socket
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from socketserver import StreamRequestHandler, ThreadingTCPServer
from threading import Thread

#: linux/sched.h; Python's own os.unshare came with 3.12
CLONE_NEWNET = 0x40000000
#: A link that leads nowhere, with an address for documentation (RFC 5737): without both, pages are
#: told that they are offline
LINKS = (
    "link set lo up",
    "link add eth0 type veth peer name eth1",
    "link set eth0 addrgenmode none up",
    "link set eth1 addrgenmode none up",
    "address add 192.0.2.1/24 dev eth0",
)
#: Replies of RFC 1928, 6, to a client that ignores which address the proxy bound
GRANTED, UNREACHABLE = (bytes([5, reply, 0, 1, 0, 0, 0, 0, 0, 0]) for reply in (0, 4))


class _Connection(StreamRequestHandler):
    """SOCKS 5 (RFC 1928) as Chromium speaks it: by name, TCP alone, without authentication."""

    disable_nagle_algorithm = True
    server: _Proxy

    def handle(self) -> None:
        with suppress(OSError):
            self.rfile.read(self.rfile.read(2)[1])
            self.wfile.write(b"\5\0")
            host, port = self._target()
            try:
                there = socket.create_connection((self.server.address(host), port), timeout=10)
            except (KeyError, OSError):
                self.wfile.write(UNREACHABLE)
                return
            with there:
                there.settimeout(None)
                there.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)
                self.wfile.write(GRANTED)
                back = Thread(target=_pass_on, args=(there, self.connection), daemon=True)
                back.start()
                _pass_on(self.connection, there)
                back.join()

    def _target(self) -> tuple[str, int]:
        kind = self.rfile.read(4)[3]
        if kind == 3:
            host = self.rfile.read(self.rfile.read(1)[0]).decode()
        else:
            family, length = {1: (socket.AF_INET, 4), 4: (socket.AF_INET6, 16)}[kind]
            host = socket.inet_ntop(family, self.rfile.read(length))
        return host, int.from_bytes(self.rfile.read(2), "big")


def _pass_on(source: socket.socket, target: socket.socket) -> None:
    """Until the source has no more to say."""
    with suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)


class _Proxy(ThreadingTCPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, addresses: dict[str, str]) -> None:
        self.addresses = addresses
        super().__init__(("127.0.0.1", 1080), _Connection)

    def address(self, host: str) -> str:
        """Of a host, or of the one below whose name it is. Raises KeyError for others."""
        return self.addresses.get(host) or self.addresses[host.partition(".")[2]]


def _proxy_apart(addresses: dict[str, str]) -> tuple[_Proxy, int]:
    """A proxy that listens in a new namespace, and a descriptor that holds the namespace.

    The thread that calls this is in that namespace from then on.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "a network namespace cannot be made")
    for link in LINKS:
        subprocess.run(["ip", *link.split()], check=True)
    return _Proxy(addresses), os.open("/proc/thread-self/ns/net", os.O_RDONLY)


@contextmanager
def namespace(addresses: dict[str, str]) -> Iterator[tuple[Path, str]]:
    """The namespace's path, and its proxy's URL; the proxy reaches the hosts with these names.

    What is one label below one of them leads there as well, as with a wildcard record of DNS.
    """
    with ThreadPoolExecutor(1) as thread:
        proxy, held = thread.submit(_proxy_apart, addresses).result()
    # from this thread it connects as this machine does
    serving = Thread(target=proxy.serve_forever, daemon=True)
    serving.start()
    try:
        yield Path(f"/proc/{os.getpid()}/fd/{held}"), "socks5://127.0.0.1:1080"
    finally:
        proxy.shutdown()
        serving.join()
        proxy.server_close()
        os.close(held)
