"""Strangers with large requests: nobody keeps them in memory for somebody who has not logged in.

Each announces far more than it sends, and is told no. Who reads on would wait for the rest.
"""

from __future__ import annotations

import shlex
import socket
import ssl

import pytest

from tests.kit.service import NAME, Service

pytestmark = pytest.mark.slow

#: Bytes: what a request announces, what it sends at most, and how much at once
LARGE, MOST = 99 << 20, 8 << 20
PIECE = b"x" * (64 << 10)
CHUNK = b"10000\r\n" + PIECE + b"\r\n"
#: Seconds for an answer, on a slow and busy machine
PATIENCE = 30
HUB = (
    ("POST", "/hub/login"), ("POST", "/hub/change-password"), ("POST", "/hub/api/users"),
    ("PUT", "/hub/nowhere"), ("POST", "/hub/security/csp-report"),
)  # fmt: skip
SERVER = (
    ("PUT", "/user/alice/api/contents/x"), ("POST", "/user/alice/login"),
    ("POST", "/user/alice/oauth_callback"), ("POST", "/user/alice/nowhere"),
    ("POST", "/user/alice/files/x"),
)  # fmt: skip


def outcome(service: Service, method: str, path: str, *headers: str, piece: bytes = PIECE) -> str:
    """What comes of a request whose body does not end: a status, "closed", or "" for nothing.

    Fronts drop some of a body before they pass on an answer that came early (Traefik: 256 KiB).
    """
    name = service.site.name_for(path)
    head = "\r\n".join([f"{method} {path} HTTP/1.1", f"Host: {name}", *headers, "", ""])
    with socket.create_connection((service.address, 443), timeout=PATIENCE) as plain:
        front = service.site.tls().wrap_socket(plain, server_hostname=name)
        try:
            front.sendall(head.encode())
            for _ in range(MOST // len(piece)):
                if answer := received(front, 0.05):
                    return answer
                front.sendall(piece)
            return received(front, PATIENCE)
        except TimeoutError:
            return ""
        except OSError:
            return "closed"


def received(front: ssl.SSLSocket, seconds: float) -> str:
    front.settimeout(seconds)
    try:
        answer = front.recv(4096)
    except TimeoutError:
        return ""
    finally:
        front.settimeout(PATIENCE)
    return answer.decode().split()[1] if answer else "closed"


@pytest.mark.parametrize(("method", "path"), HUB)
def test_the_hub_reads_no_large_body(service: Service, method: str, path: str) -> None:
    told = outcome(service, method, path, f"Content-Length: {LARGE}")
    assert told in ("400", "413", "502", "closed")


def test_the_hub_reads_no_endless_body(service: Service) -> None:
    told = outcome(service, "POST", "/hub/login", "Transfer-Encoding: chunked", piece=CHUNK)
    assert told in ("400", "413", "502", "closed")


@pytest.mark.parametrize(("method", "path"), SERVER)
def test_a_server_reads_no_large_body_of_a_stranger(
    service: Service, method: str, path: str
) -> None:
    service.person("alice")
    # whose connection ends below it, a proxy may see no more of its answer
    refused = ("403", "502", "closed")
    long = f"Content-Length: {LARGE}"
    for headers in (
        [long],
        [long, "Authorization: token 0123456789abcdef"],
        [long, "Cookie: jupyterhub-user-alice=2|1:0|10:1|1:x|4:x|0"],
    ):
        assert outcome(service, method, path, *headers) in refused, headers
    told = outcome(service, method, path, "Transfer-Encoding: chunked", piece=CHUNK)
    assert told in refused


# A byte every two seconds; prints for each of the arguments, ADDRESS:PORT/PATH, who gave up first.
_SLOWLY = """
import socket, sys, threading, time
def dribble(target):
    place, _, path = target.partition("/")
    address, _, port = place.rpartition(":")
    with socket.create_connection((address, int(port)), timeout=2) as connection:
        head = f"POST /{path} HTTP/1.1\\r\\nHost: x\\r\\nContent-Length: 1000\\r\\n\\r\\n"
        connection.sendall(head.encode())
        end = time.monotonic() + 180
        while time.monotonic() < end:
            try:
                connection.sendall(b"x")
                connection.recv(4096)
                break
            except TimeoutError:
                continue
            except OSError:
                break
        else:
            print(target, "takes forever")
            return
    print(target, "ends")
threads = [threading.Thread(target=dribble, args=(target,)) for target in sys.argv[1:]]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
"""


def test_nobody_takes_forever_over_a_small_body(service: Service) -> None:
    """The Hub gives it one minute, a server two; the front may keep its half for longer."""
    targets = ["172.30.0.1:8081/hub/login"]
    targets += [f"{service.server_address('alice')}:8888/user/alice/login"]
    command = shlex.join(["python3", "-c", _SLOWLY, *targets])
    assert sorted(service.sudo(command).splitlines()) == [f"{each} ends" for each in targets]


def test_many_strangers_at_once_end_nobodys_kernel(service: Service) -> None:
    """As much as they can send, for the memory of a server, and of the Hub."""
    alice = service.person("alice")
    hub = service.sudo("systemctl show -P MainPID jupyterhub")
    flood = r"""
for path in alice.localhost/user/alice/api/contents/x localhost/hub/login; do
    for number in 1 2 3 4 5 6 7 8; do
        head -c 300M /dev/zero | timeout 120 curl -sk --connect-to ::127.0.0.1: -o /dev/null \
            -T - -H 'Content-Length: 314572800' -H 'Transfer-Encoding:' https://$path &
    done
    wait
done
"""
    with alice.kernel() as kernel:
        kernel.run("memory = 'kept'")
        service.sudo(flood.replace("localhost", NAME))
        assert kernel.run("print(memory)") == "kept\n"
    assert service.sudo("systemctl show -P MainPID jupyterhub") == hub
    service.check_works()


def test_a_person_brings_large_files(service: Service) -> None:
    alice = service.person("alice")
    text = "0123456789abcdef" * (1 << 19)
    body = {"type": "file", "format": "text", "content": text}
    alice.server("PUT", "/contents/large.txt", json=body)
    assert len(alice.server("GET", "/contents/large.txt")["content"]) == len(text)
    alice.server("DELETE", "/contents/large.txt")
