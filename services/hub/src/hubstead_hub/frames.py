"""Scripts of other applications' pages may call the Hub, from the origins of the settings."""

from __future__ import annotations

from typing import Any

from jupyterhub.handlers import base

#: Not typed, and to be changed here
_BaseHandler: Any = base.BaseHandler


def answer_origins() -> None:
    """Have every answer of the Hub's, errors too, name the origin that asks, where it is listed.

    Without credentials: a script brings a token, and the cookies of who looks at its page count
    nothing (Fetch, "CORS protocol and credentials").
    """
    set_defaults = _BaseHandler.set_default_headers

    def set_default_headers(handler: Any) -> None:
        set_defaults(handler)
        # caches keep one answer for each
        handler.add_header("Vary", "Origin")
        origin = handler.request.headers.get("Origin")
        if origin in handler.settings.get("frame_origins", ()):
            handler.set_header("Access-Control-Allow-Origin", origin)
            if handler.request.method == "OPTIONS":
                handler.set_header(
                    "Access-Control-Allow-Methods", "GET, HEAD, POST, PUT, PATCH, DELETE"
                )

    _BaseHandler.set_default_headers = set_default_headers
