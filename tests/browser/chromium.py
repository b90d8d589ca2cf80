"""Chromium as a person's browser: it knows the service's name and trusts what was imported."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, BrowserContext, sync_playwright


def trusting_home(directory: Path, authority: Path) -> Path:
    """A home directory whose certificate store trusts an authority."""
    store = directory / ".pki/nssdb"
    store.mkdir(parents=True)
    for action in (["-N", "--empty-password"], ["-A", "-n", "hubstead", "-t", "C,,"]):
        source = ["-i", str(authority)] if "-A" in action else []
        subprocess.run(["certutil", "-d", f"sql:{store}", *action, *source], check=True)
    return directory


@contextmanager
def chromium(home: Path, **addresses: str) -> Iterator[Browser]:
    """The browser of somebody with this home directory, who can reach these hosts by name."""
    rules = ", ".join(f"MAP {name} {address}" for name, address in addresses.items())
    arguments = [
        "--no-sandbox",  # tests run as root
        "--disable-gpu",
        "--disable-background-networking",
        "--disable-component-update",
        "--no-proxy-server",
        f"--host-resolver-rules={rules}, MAP * ~NOTFOUND",
    ]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path="/usr/bin/chromium",
            args=arguments,
            env={**os.environ, "HOME": str(home)},
        )
        yield browser
        browser.close()


def context(browser: Browser) -> BrowserContext:
    """A profile of its own, without anybody's cookies."""
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    context.set_default_timeout(60_000)
    return context
