"""The pages that people see: login, account, change of the password."""

import hmac
import logging
import secrets
from typing import Any
from urllib.parse import urlencode

from flask import Blueprint, Response, abort, make_response, redirect, render_template, request
from flask import session as form_cookie
from flask.typing import ResponseReturnValue

from hubstead_login import SESSION_COOKIE
from hubstead_login.services import (
    DATABASE_DOWN,
    current_session,
    refuse_foreign_origin,
    services,
    session_secret,
)
from hubstead_login.settings import is_local
from hubstead_login.verifier import TryLaterError
from hubstead_userdb.errors import UnavailableError
from hubstead_userdb.names import is_username, normalised
from hubstead_userdb.table import User

_WRONG = "Invalid username or password."
_EXPIRED = "The form had expired. Please try again; cookies must be on."
_CHANGED_MEANWHILE = "Your account was changed meanwhile. Please try again."

_log = logging.getLogger(__name__)

pages = Blueprint("pages", __name__)


@pages.before_request
def _check_origin() -> None:
    if request.method == "POST":
        refuse_foreign_origin()


@pages.get("/")
def index() -> ResponseReturnValue:
    """The account, or the login before it."""
    return redirect(f"{services().settings.prefix}account")


@pages.get("/login")
def login_form() -> ResponseReturnValue:
    """The form; whoever is logged in already is led on."""
    if current_session() is not None:
        return redirect(_next())
    return _login_page()


@pages.post("/login")
def login() -> ResponseReturnValue:
    """Begin a session, or lead on to the password page where that has to come first."""
    if not _form_is_ours():
        return _login_page(_EXPIRED, 403)
    given = request.form.get("username", "")
    try:
        user = services().verifier.verify(given, request.form.get("password", ""), _address())
        if user is None:
            _log.warning("refused a login from %s", _address())
            return _login_page(_WRONG, 403)
        if user.must_change_password:
            query = {"username": user.username, "next": _next()}
            return redirect(f"{services().settings.prefix}password?{urlencode(query)}", 303)
        return _begin(user, user.password_hash, _next()) or _login_page(_CHANGED_MEANWHILE, 409)
    except TryLaterError as problem:
        return _login_page(str(problem), problem.status, problem.seconds)
    except UnavailableError as error:
        _log.error("the users table cannot be used: %s", error)
        return _login_page(DATABASE_DOWN, 503, 30)


@pages.get("/account")
def account() -> ResponseReturnValue:
    """Who is logged in and for how long, and the way out."""
    session = current_session()
    if session is None:
        return redirect(f"{services().settings.prefix}login")
    return render_template(
        "account.html",
        username=session.username,
        minutes=-(-session.seconds // 60),
        home=services().settings.home,
        changed="changed" in request.args,
        csrf=_csrf(),
    )


@pages.get("/logout")
def logout_form() -> ResponseReturnValue:
    """A link must not log anybody out; the account page has the button."""
    return redirect(f"{services().settings.prefix}account")


@pages.post("/logout")
def logout() -> ResponseReturnValue:
    """End the session. While the database is down it goes on, and the page says so."""
    if not _form_is_ours():
        abort(403)
    if session_secret():
        services().database.close_session(session_secret())
    response = make_response(redirect(f"{services().settings.prefix}login?logged-out=1", 303))
    response.delete_cookie(SESSION_COOKIE, secure=True, httponly=True, samesite="Lax")
    # Pages that the browser keeps to show them at once when one goes back.
    response.headers["Clear-Site-Data"] = '"cache"'
    return response


@pages.get("/password")
def password_form() -> ResponseReturnValue:
    """Where people change their own password, logged in or before they can be."""
    return _password_page(_logged_in_as())


@pages.post("/password")
def password() -> ResponseReturnValue:
    """Change the password, end all sessions of the user, begin a new one, and go on."""
    session_user = _logged_in_as()
    if not _form_is_ours():
        return _password_page(session_user, _EXPIRED, 403)
    username = session_user or normalised(request.form.get("username", ""))
    current = request.form.get("password", "")
    new_password = request.form.get("new_password", "")
    problem = _problem(username, new_password)
    if problem:
        return _password_page(session_user, problem, 400)
    verifier = services().verifier
    try:
        user = verifier.verify(username, current, _address())
        if user is None:
            wrong = "The current password is wrong." if session_user else _WRONG
            return _password_page(session_user, wrong, 403)
        if new_password == current:
            return _password_page(
                session_user, "The new password must differ from the current one.", 400
            )
        new_hash = verifier.change(user, new_password)
    except TryLaterError as later:
        return _password_page(session_user, str(later), later.status, later.seconds)
    if new_hash is None:
        return _password_page(session_user, _CHANGED_MEANWHILE, 409)
    _log.info("%s changed the password", user.username)
    done = f"{services().settings.prefix}account?changed=1" if session_user else _next()
    return _begin(user, new_hash, done) or _login_page(_CHANGED_MEANWHILE, 409)


def come_again(text: str) -> Response:
    """The page for when something behind the login does not answer."""
    response = make_response(render_template("message.html", title="Not available", text=text), 503)
    response.headers["Retry-After"] = "30"
    return response


def _begin(user: User, password_hash: str, where: str) -> Response | None:
    """Give the browser a session of its own; None if the user was changed meanwhile."""
    database = services().database
    secret = database.open_session(
        user.username, password_hash, services().settings.session_minutes
    )
    if secret is None:
        return None
    if session_secret():
        # The one that this browser had is not reachable any more.
        database.close_session(session_secret())
    form_cookie.clear()
    _log.info("%s logged in from %s", user.username, _address())
    response = make_response(redirect(where, 303))
    # No lifetime: the database knows it, and the browser forgets the cookie when it is closed.
    response.set_cookie(SESSION_COOKIE, secret, secure=True, httponly=True, samesite="Lax")
    return response


def _login_page(error: str | None = None, status: int = 200, retry_after: int = 0) -> Response:
    return _form_page(
        "login.html",
        status,
        retry_after,
        error=error,
        username=_shown_name(),
        logged_out="logged-out" in request.args and error is None,
    )


def _password_page(
    session_user: str | None, error: str | None = None, status: int = 200, retry_after: int = 0
) -> Response:
    return _form_page(
        "password.html",
        status,
        retry_after,
        error=error,
        session_user=session_user,
        username=session_user or _shown_name(),
        min_length=services().settings.min_length,
    )


def _form_page(template: str, status: int, retry_after: int, **values: Any) -> Response:
    page = render_template(template, csrf=_csrf(), next=_next(), **values)
    response = make_response(page, status)
    if retry_after:
        response.headers["Retry-After"] = str(retry_after)
    return response


def _problem(username: str, new_password: str) -> str | None:
    if not username:
        return "Enter your username."
    if new_password != request.form.get("new_password_again", ""):
        return "The two new passwords differ."
    return services().verifier.passwords.problem(new_password, username)


def _logged_in_as() -> str | None:
    session = current_session()
    return None if session is None else session.username


def _shown_name() -> str:
    """The name that was given, to save typing it again; nothing that cannot be one."""
    given = normalised(request.values.get("username", ""))
    return given if is_username(given) else ""


def _next() -> str:
    """Where to go after the login: a path of this host, whatever the link said."""
    wanted = request.values.get("next", "")
    return wanted if is_local(wanted) else services().settings.home


def _address() -> str:
    return request.remote_addr or ""


def _csrf() -> str:
    """What forms must bring back; the browser's signed cookie holds the same."""
    token: str = form_cookie.setdefault("csrf", secrets.token_urlsafe(32))
    return token


def _form_is_ours() -> bool:
    expected = form_cookie.get("csrf", "")
    given = request.form.get("csrf", "")
    return bool(expected) and hmac.compare_digest(expected.encode(), given.encode(errors="replace"))
