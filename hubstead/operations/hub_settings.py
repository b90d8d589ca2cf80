"""The Hub's settings, as an earlier run wrote them."""

from __future__ import annotations

from pyinfra.api import FactBase, QuoteString, StringCommand


class PublicUrl(FactBase[str | None]):
    """Where people find the Hub, by a file of its settings; None without one."""

    def command(self, path: str) -> StringCommand:
        find = QuoteString('s/^ *"public_url": "\\(.*\\)",\\?$/\\1/p')
        return StringCommand("sed -n", find, QuoteString(path), "2>/dev/null || true")

    def process(self, output: list[str]) -> str | None:
        return output[0] if output else None
