"""The forms of HTML pages, for browsers that run no script."""

import re
from html import unescape


def hidden(page: str) -> dict[str, str]:
    """What the hidden fields of a page hold."""
    found = re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', page)
    return {name: unescape(value) for name, value in found}


def action(page: str) -> str:
    """Where the page's only form is sent."""
    (target,) = re.findall(r"<form[^>]* action=['\"]([^'\"]*)['\"]", page)
    return unescape(target)
