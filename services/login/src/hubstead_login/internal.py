"""What the proxy asks the login, below /internal/: never reachable from outside."""

import logging
import re
from urllib.parse import urlencode

from flask import Blueprint, Response, redirect, request
from flask.typing import ResponseReturnValue

from hubstead_login import (
    COOKIE_HEADER,
    FORM_COOKIE,
    SECONDS_HEADER,
    SESSION_COOKIE,
    TOKEN_HEADER,
    USER_HEADER,
)
from hubstead_login.pages import come_again
from hubstead_login.services import (
    DATABASE_DOWN,
    current_session,
    refuse_foreign_origin,
    services,
)
from hubstead_login.settings import is_local
from hubstead_userdb.errors import UnavailableError

_log = logging.getLogger(__name__)

internal = Blueprint("internal", __name__)


@internal.get("/session")
def session() -> ResponseReturnValue:
    """204 with JupyterLab's token for a live session; 401 without one, 403 from another site.

    The cookies to pass on come back without ours: who works in the shared JupyterLab could read
    them there, and be somebody else.
    """
    refuse_foreign_origin()
    found = current_session()
    if found is None:
        return "", 401
    token = _token()
    if token is None:
        return "", 503
    headers = {
        TOKEN_HEADER: token,
        COOKIE_HEADER: _cookies_of_others(request.headers.get("Cookie", "")),
        USER_HEADER: found.username,
        SECONDS_HEADER: str(found.seconds),
    }
    return "", 204, headers


@internal.get("/login-needed")
def login_needed() -> ResponseReturnValue:
    """After a 401: a browser that opens a page is sent to the login, anything else is told 401.

    ``X-Original-Method`` and ``X-Original-URI`` say what was asked of the proxy.
    """
    opens_a_page = (
        request.headers.get("X-Original-Method") in {"GET", "HEAD"}
        and request.headers.get("Sec-Fetch-Mode", "navigate") == "navigate"
        and "text/html" in request.headers.get("Accept", "")
    )
    if not opens_a_page:
        return Response("Log in first.\n", 401, mimetype="text/plain")
    wanted = request.headers.get("X-Original-URI", "")
    query = f"?{urlencode({'next': wanted})}" if is_local(wanted) and wanted != "/" else ""
    return redirect(f"{services().settings.prefix}login{query}")


@internal.get("/unavailable")
def unavailable() -> ResponseReturnValue:
    """The page instead of the proxy's own, when ``session`` or JupyterLab did not answer."""
    return come_again(_trouble() or "JupyterLab does not answer at the moment.")


@internal.get("/health")
def health() -> ResponseReturnValue:
    """200, or 503 with what is missing."""
    trouble = _trouble()
    return Response(f"{trouble or 'ok'}\n", 503 if trouble else 200, mimetype="text/plain")


def _trouble() -> str | None:
    try:
        services().database.ping()
    except UnavailableError as error:
        _log.error("the users table cannot be used: %s", error)
        return DATABASE_DOWN
    if _token() is None:
        return "JupyterLab is starting. Please try again in a minute."
    return None


def _cookies_of_others(header: str) -> str:
    cookies = (cookie.strip() for cookie in header.split(";"))
    return "; ".join(
        cookie
        for cookie in cookies
        if cookie.partition("=")[0].strip() not in {SESSION_COOKIE, FORM_COOKIE}
    )


def _token() -> str | None:
    """JupyterLab's token, read anew each time, as each start of JupyterLab makes another."""
    path = services().settings.token_file
    try:
        token = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        _log.warning("cannot read %s: %s", path, type(error).__name__)
        return None
    # What can stand in a header. An empty or half-written file is none yet.
    if re.fullmatch(r"[\x21-\x7e]{16,256}", token) is None:
        _log.warning("%s holds no token", path)
        return None
    return token
