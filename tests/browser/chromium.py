"""Chromium as a person's browser: it knows the service's name and trusts what was imported."""

import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, BrowserContext, Frame, Page, expect, sync_playwright

from tests.browser.namespace import namespace


def trusting_home(directory: Path, *authorities: Path) -> Path:
    """A home directory whose certificate store trusts these authorities."""
    store = directory / ".pki/nssdb"
    store.mkdir(parents=True)
    actions = [["-N", "--empty-password"]]
    for authority in authorities:
        nickname = f"hubstead {len(actions)}"
        actions.append(["-A", "-n", nickname, "-t", "C,,", "-i", str(authority)])
    for action in actions:
        subprocess.run(["certutil", "-d", f"sql:{store}", *action], check=True)
    return directory


@contextmanager
def chromium(home: Path, **addresses: str) -> Iterator[Browser]:
    """The browser of somebody with this home directory, who can reach these hosts by name."""
    program = home / "chromium"
    with namespace(addresses) as (network, proxy), sync_playwright() as playwright:
        program.write_text(f'#!/bin/sh\nexec nsenter --net={network} /usr/bin/chromium "$@"\n')
        program.chmod(0o755)
        browser = playwright.chromium.launch(
            executable_path=program,
            args=[
                "--no-sandbox",  # tests run as root
                "--disable-gpu",
                "--disable-background-networking",
                "--disable-component-update",
                f"--proxy-server={proxy}",
                "--proxy-bypass-list=<-loopback>",  # none, not even loopback
            ],
            env={**os.environ, "HOME": str(home)},
        )
        yield browser
        browser.close()


def context(browser: Browser) -> BrowserContext:
    """A profile of its own, without anybody's cookies."""
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    context.set_default_timeout(60_000)
    return context


#: Milliseconds for a server to start, and for a page to show something, on a slow and busy machine
PATIENCE = 180_000
expect.set_options(timeout=60_000)
IDLE = "Python 3 (ipykernel) | Idle"
#: JupyterLab 4.6.6 knows no more of a kernel that it has reached again, until a cell has run
_REACHED = re.compile(r"Python 3 \(ipykernel\) \| (Idle|Unknown)")


def open_notebook(page: Page | Frame, lab: str) -> None:
    """A new notebook, from the launcher of the JupyterLab with this address.

    JupyterLab 4.6.6 on a busy machine may open one and never ask for its kernel: then again, as a
    person would.
    """
    for left in (2, 1, 0):
        page.goto(f"{lab}?reset")
        page.locator('.jp-LauncherCard[data-category="Notebook"]').first.click(timeout=PATIENCE)
        try:
            expect(page.get_by_text(IDLE)).to_be_visible(timeout=PATIENCE / 3)
            return
        except AssertionError:
            if not left:
                raise


def compute(page: Page | Frame, code: str) -> str:
    """Run the notebook's last cell, once its kernel can be reached; what it printed."""
    expect(page.get_by_text(_REACHED)).to_be_visible(timeout=PATIENCE)
    outputs = page.locator(".jp-OutputArea-output pre")
    before = outputs.count()
    cell = page.locator(".jp-Notebook .cm-content").last
    cell.click()
    cell.page.keyboard.type(code)
    expect(cell).to_have_text(code)
    cell.press("Shift+Enter")
    expect(outputs).to_have_count(before + 1, timeout=PATIENCE)
    return outputs.last.text_content() or ""
