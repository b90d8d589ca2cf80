"""What the pages work with: one set for the application, and the session of a request."""

from dataclasses import dataclass
from typing import cast

from flask import abort, current_app, request

from hubstead_login import SESSION_COOKIE
from hubstead_login.database import LoginDatabase, Session
from hubstead_login.settings import LoginSettings
from hubstead_login.verifier import Verifier

DATABASE_DOWN = "The user database does not answer at the moment. Please try again in a minute."


@dataclass(frozen=True)
class Services:
    """Made once, by ``create_app``."""

    settings: LoginSettings
    database: LoginDatabase
    verifier: Verifier


def services() -> Services:
    """Those of the application that is answering."""
    return cast(Services, current_app.extensions["services"])


def session_secret() -> str:
    """What the request's session cookie holds; empty without one."""
    return request.cookies.get(SESSION_COOKIE, "")


def current_session() -> Session | None:
    """The live session to which the request belongs.

    :raises UnavailableError: while the database cannot be asked.
    """
    return services().database.session(session_secret())


def refuse_foreign_origin() -> None:
    """Answer 403 to what a page of another site made the browser send.

    JupyterLab leaves this check out for requests that bring its token, as all of them do behind
    this login; and SameSite counts another port or subdomain as the same site.
    """
    origin = request.headers.get("Origin")
    if origin is not None and origin not in services().settings.origins:
        abort(403)
