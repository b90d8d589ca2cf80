#!/usr/bin/python3 -I
"""Written by Hubstead: holds ports, so that no account of the host takes them in a restart.

    port-holder ADDRESS:PORT...   :PORT is the port on every address

Its sockets are bound and never listen: who connects is refused at once, unless the service listens.
Only what sets SO_REUSEPORT, too, and is the same user's, can have a port beside it (socket(7)).
"""

from __future__ import annotations

import errno
import os
import signal
import socket
import sys
import time
from typing import NoReturn

#: linux/in.h, linux/in6.h: the address may come later, as that of a bridge of Docker's
IP_FREEBIND, IPV6_FREEBIND = 15, 78
#: Seconds between two attempts
PAUSE = 0.2


def hold(address: str, port: int) -> socket.socket:
    """A socket that has the port. Raises OSError where another one has it."""
    if not address and socket.has_dualstack_ipv6():
        holder = socket.socket(socket.AF_INET6)
        holder.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        holder.setsockopt(socket.IPPROTO_IPV6, IPV6_FREEBIND, 1)
    else:
        holder = socket.socket(socket.AF_INET)
        holder.setsockopt(socket.IPPROTO_IP, IP_FREEBIND, 1)
    # not SO_REUSEADDR: with that, others could join
    holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        holder.bind((address, port))
    except OSError:
        holder.close()
        raise
    return holder


def hold_patiently(address: str, port: int) -> socket.socket:
    """The same, and wait for it: connections that are over keep a port for a minute (tcp(7))."""
    said = False
    while True:
        try:
            return hold(address, port)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
        if not said:
            print(f"<5>port {port} is in use: waiting for it", file=sys.stderr, flush=True)
            said = True
        time.sleep(PAUSE)


def tell_systemd() -> None:
    """That all are held. Rule: sd_notify(3)."""
    if path := os.environ.get("NOTIFY_SOCKET"):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            manager.sendto(b"READY=1", "\0" + path[1:] if path.startswith("@") else path)


def main() -> NoReturn:
    targets = [word.rpartition(":") for word in sys.argv[1:]]
    holders = [hold_patiently(address, int(port)) for address, _, port in targets]
    tell_systemd()
    while holders:
        signal.pause()
    sys.exit("nothing to hold")


if __name__ == "__main__":
    main()
