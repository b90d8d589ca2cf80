"""Lab hosts of other tests come and go, and the browser does not notice."""

from __future__ import annotations

import os
import socket
import ssl
import subprocess
from pathlib import Path
from threading import Thread

import pytest
from playwright.sync_api import Error

from tests.browser.chromium import chromium, context, trusting_home
from tests.kit.authority import Authority

pytestmark = pytest.mark.slow

#: A link of this machine that ends with the namespace of its other end, as that of a lab host
COME_AND_GO = """
ip link add there type veth peer name "$1" netns "$2"
ip link set there up
for part in "link set $1 up" "address add 192.0.2.2/32 dev $1"; do
    nsenter --net="/proc/$2/ns/net" ip $part
done
sleep 1
"""


def come_and_go() -> None:
    arguments = [f"test{os.getpid()}", str(os.getpid())]
    subprocess.run(["unshare", "--net", "sh", "-euc", COME_AND_GO, "sh", *arguments], check=True)


def test_a_link_that_comes_and_goes_cuts_no_connection(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "authority")
    authority.issue(["hub.example.org"])
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(*authority.pair())
    listener = socket.create_server(("127.0.0.1", 0))

    def answer() -> None:
        plain, _ = listener.accept()
        come_and_go()
        with tls.wrap_socket(plain, server_side=True) as visitor:
            visitor.recv(65536)
            visitor.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")

    serving = Thread(target=answer)
    home = trusting_home(tmp_path / "home", authority.root)
    with listener, chromium(home, **{"hub.example.org": "127.0.0.1"}) as browser:
        serving.start()
        page = context(browser).new_page()
        page.goto(f"https://hub.example.org:{listener.getsockname()[1]}/")
        serving.join()
        assert page.text_content("body") == "hello"
        assert page.evaluate("navigator.onLine")


def test_nothing_but_the_named_hosts_can_be_reached(tmp_path: Path) -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    with listener, chromium(tmp_path, **{"hub.example.org": "127.0.0.1"}) as browser:
        page = context(browser).new_page()
        for name in ("127.0.0.1", "localhost", "[::1]", "bank.example.com"):
            with pytest.raises(Error, match="net::ERR_SOCKS_CONNECTION"):
                page.goto(f"http://{name}:{port}/")
        listener.setblocking(False)
        with pytest.raises(BlockingIOError):
            listener.accept()
