"""Eve's server, and what its page gets of a visitor in Chromium."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from playwright.sync_api import BrowserContext, Page, expect

from tests.browser.chromium import PATIENCE
from tests.kit.service import NAME, PASSWORD, Service

HERE = Path(__file__).parent
#: What she writes into her home, by path
HERS = {
    ".jupyter/jupyter_server_config.py": (HERE / "eve_server_config.py").read_text(),
    "gift.html": (HERE / "gift.html").read_text(),
}
#: Where people's servers are as the host is deployed: at a name each
EACH = f"*.{NAME}"


class Apart(Service):
    """The host, whose people's servers are at one name or another."""

    def choose(self, servers: str | None, settings: tuple[str, ...]) -> None:
        """Deploy a choice; a second run has nothing to do. Kernels run on."""
        self.servers, self.settings = servers, settings
        first = self.run()
        assert first.status == 0, first.end
        second = self.run()
        assert (second.status, second.changed) == (0, []), second.end
        for client in self._people.values():
            client.move(self.site)

    def url(self, path: str) -> str:
        return self.site.url(self.site.base + path)

    def notes_of_tokens(self, username: str) -> list[str]:
        person = self.person(username)
        return [
            token["note"] for token in person.api("GET", f"/users/{username}/tokens")["api_tokens"]
        ]


def give(service: Apart) -> str:
    """Have eve's server show her page; its address."""
    eve = service.person("eve")
    with eve.kernel() as kernel:
        kernel.run(
            "from pathlib import Path\n"
            f"for name, text in {HERS!r}.items():\n"
            "    Path.home().joinpath(name).parent.mkdir(exist_ok=True)\n"
            "    Path.home().joinpath(name).write_text(text)\n"
        )
    eve.stop_server()
    service.person("eve")
    return service.url("user/eve/gift")


def log_in(page: Page, service: Apart, username: str) -> None:
    page.goto(service.url("hub/login"))
    page.get_by_label("Username").fill(username)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url(f"**/user/{username}/lab**", timeout=PATIENCE)


def visit(context: BrowserContext, service: Apart, username: str, gift: str) -> dict[str, Any]:
    """What eve's page gets of somebody who is logged in, with an open server."""
    # one of before a switch has the cookies of then
    service.person(username).stop_server()
    person = service.person(username)
    body = {"type": "file", "format": "text", "content": "dear diary"}
    person.server("PUT", "/contents/diary.txt", json=body)
    page = context.new_page()
    log_in(page, service, username)
    assert page.goto(gift)
    expect(page.get_by_text("A gift for you")).to_be_visible()
    own = service.url(f"user/{username}/")
    arguments = json.dumps([service.url("hub/"), own, username])
    got: dict[str, Any] = page.evaluate(f"attack(...{arguments})")
    print(got)
    return got
