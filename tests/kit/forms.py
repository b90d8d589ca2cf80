"""The forms of HTML pages, and what else they tell browsers that run no script."""

import re
from html import unescape

_REFRESH = re.compile(r'<meta http-equiv="refresh" content="(\d+)(?:;url=([^"]*))?"')


def hidden(page: str) -> dict[str, str]:
    """What the hidden fields of a page hold."""
    found = re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', page)
    return {name: unescape(value) for name, value in found}


def action(page: str) -> str:
    """Where the page's only form is sent."""
    (target,) = re.findall(r"<form[^>]* action=['\"]([^'\"]*)['\"]", page)
    return unescape(target)


def refresh(page: str) -> int | None:
    """The seconds after which a browser loads the page again."""
    found = _REFRESH.search(page)
    return int(found[1]) if found else None


def leads(page: str) -> str:
    """Which page that is; empty for the same one."""
    found = _REFRESH.search(page)
    return unescape(found[2] or "") if found else ""


def said(page: str) -> str:
    """What a page tells who waits (hubstead_hub's error.html); empty on others."""
    found = re.search(r'id="waiting"[^>]*>([^<]*)<', page)
    return unescape(found[1]).strip() if found else ""
