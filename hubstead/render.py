"""Templates: the tree below templates/ROLE mirrors the paths on the host."""

from pathlib import Path
from typing import Any

import jinja2

ROOT = Path(__file__).parents[1] / "templates"

_environment = jinja2.Environment(
    loader=jinja2.FileSystemLoader(ROOT),
    undefined=jinja2.StrictUndefined,
    keep_trailing_newline=True,
    trim_blocks=True,
    lstrip_blocks=True,
    autoescape=False,  # these are configuration files, not HTML
)


def render(role: str, path: str, **values: Any) -> str:
    """The file for `path` on the host, from `templates/ROLE/PATH`.

    Raises jinja2.UndefinedError for a value that the template needs and does not get.
    """
    return _environment.get_template(f"{role}/{path.lstrip('/')}").render(**values)
