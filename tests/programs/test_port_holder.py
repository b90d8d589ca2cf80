"""The program that holds ports: who can have them beside it, and who cannot."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hubstead.programs import ROOT

PROGRAM = ROOT / "port_holder.py"
#: An account without rights
STRANGER = 65533
Hold = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def hold(tmp_path: Path) -> Iterator[Hold]:
    """Start the program; it is ready when this returns, as systemd understands it."""
    running = []

    def start(*targets: str, seconds: float = 20) -> subprocess.Popen[str]:
        path = str(tmp_path / f"notify{len(running)}")
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            manager.bind(path)
            manager.settimeout(seconds)
            process = subprocess.Popen(
                ["/usr/bin/python3", "-I", PROGRAM, *targets],
                env={"NOTIFY_SOCKET": path},
                stderr=subprocess.PIPE,
                text=True,
            )
            running.append(process)
            assert manager.recv(100) == b"READY=1"
        return process

    yield start
    for process in running:
        process.kill()
        process.communicate()


@pytest.fixture
def port() -> int:
    """One that is free."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def bind(port: int, address: str, *options: int) -> socket.socket:
    """As a service does. Raises OSError where the port is somebody else's."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    found = socket.socket(family)
    try:
        for option in options:
            found.setsockopt(socket.SOL_SOCKET, option, 1)
        found.bind((address, port))
    except OSError:
        found.close()
        raise
    return found


def takes(port: int, address: str, *options: int) -> bool:
    """Whether an account without rights gets the port."""
    os.seteuid(STRANGER)
    try:
        bind(port, address, *options).close()
    except OSError as error:
        assert error.strerror == "Address already in use"
        return False
    finally:
        os.seteuid(0)
    return True


ADDR, PORT = socket.SO_REUSEADDR, socket.SO_REUSEPORT
WAYS = [
    (address, *options)
    for address in ("127.0.0.1", "0.0.0.0", "::", "::ffff:127.0.0.1")
    for options in ((), (ADDR,), (PORT,), (ADDR, PORT))
]
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="becomes another account")


@needs_root
@pytest.mark.parametrize("target", ["127.0.0.1:{}", ":{}"])
def test_no_account_takes_it_before_during_and_after(hold: Hold, port: int, target: str) -> None:
    assert takes(port, "127.0.0.1")
    hold(target.format(port))
    assert not [way for way in WAYS if takes(port, *way)]
    with bind(port, "127.0.0.1", ADDR, PORT) as service:
        service.listen()
        assert not [way for way in WAYS if takes(port, *way)]
        # a connection that the service ends, which is over for a minute
        with socket.create_connection(("127.0.0.1", port)) as visitor:
            service.accept()[0].close()
            assert visitor.recv(1) == b""
    assert not [way for way in WAYS if takes(port, *way)]
    with bind(port, "127.0.0.1", ADDR, PORT) as again:
        again.listen()


def test_all_connections_are_the_services(hold: Hold, port: int) -> None:
    hold(f"127.0.0.1:{port}")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))
    with bind(port, "127.0.0.1", ADDR, PORT) as service:
        service.listen()
        service.settimeout(5)
        for _ in range(100):
            with socket.create_connection(("127.0.0.1", port)):
                service.accept()[0].close()


def test_an_address_may_come_later(hold: Hold, port: int) -> None:
    """As that of Docker's bridge does at boot; the network of RFC 5737 is nobody's."""
    assert hold(f"192.0.2.77:{port}", f"127.0.0.1:{port}").poll() is None


def test_it_waits_for_a_service_of_before(hold: Hold, port: int) -> None:
    with bind(port, "127.0.0.1", ADDR) as former:
        former.listen()
        with pytest.raises(TimeoutError):
            hold(f"127.0.0.1:{port}", seconds=1)
    hold(f"127.0.0.1:{port}")
