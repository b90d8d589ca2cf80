"""The application: ``create_app()`` puts settings, database and pages together."""

import atexit
import logging
from http import HTTPStatus

from flask import Flask, Response, render_template, request
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import HTTPException
from werkzeug.middleware.proxy_fix import ProxyFix

from hubstead_login import FORM_COOKIE, internal, pages, settings
from hubstead_login.database import LoginDatabase
from hubstead_login.services import DATABASE_DOWN, Services
from hubstead_login.verifier import Verifier
from hubstead_userdb.errors import UnavailableError
from hubstead_userdb.passwords import Passwords

_log = logging.getLogger(__name__)

#: Bytes of a form. The largest right one is a name, three passwords and a URL.
_MAX_FORM = 16 * 1024

_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; img-src 'self'; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    # Not no-referrer, with which browsers send "Origin: null" for our own forms (Fetch, "append a
    # request Origin header").
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}

_WORDS = {
    400: "The form could not be read.",
    403: "This request comes from another site.",
    404: "There is no such page.",
    413: "The form holds more than anybody would type.",
}


def create_app() -> ProxyFix:
    """The login, configured by the environment.

    :raises ConfigurationError: if a variable or a credential is missing or wrong.
    """
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    # Its notes on lending connections, at every request.
    logging.getLogger("psycopg.pool").setLevel(logging.WARNING)
    given = settings.read()
    app = Flask("hubstead_login", static_url_path=f"{given.prefix}static")
    app.config.update(
        SECRET_KEY=given.secret_key,
        MAX_CONTENT_LENGTH=_MAX_FORM,
        SEND_FILE_MAX_AGE_DEFAULT=3600,
        SESSION_COOKIE_NAME=FORM_COOKIE,
        SESSION_COOKIE_PATH="/",
        SESSION_COOKIE_SECURE=True,
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Lax",
    )
    database = LoginDatabase(given.dsn_file)
    # or a stop waits 5 seconds for each of its threads
    atexit.register(database.close)
    passwords = Passwords(given.bcrypt_cost, given.min_length)
    app.extensions["services"] = Services(given, database, Verifier(database, passwords))
    app.register_blueprint(pages.pages, url_prefix=given.prefix.rstrip("/"))
    app.register_blueprint(internal.internal, url_prefix="/internal")
    app.register_error_handler(HTTPException, _show_error)
    app.register_error_handler(UnavailableError, _show_unavailable)
    app.after_request(_harden)
    return ProxyFix(app, x_for=given.proxies, x_proto=0, x_host=0)


def _show_error(error: HTTPException) -> ResponseReturnValue:
    response = error.get_response()
    status = HTTPStatus(response.status_code)
    response.set_data(
        render_template("message.html", title=status.phrase, text=_WORDS.get(status, ""))
    )
    response.content_type = "text/html; charset=utf-8"
    return response


def _show_unavailable(error: UnavailableError) -> ResponseReturnValue:
    _log.error("the users table cannot be used: %s", error)
    return pages.come_again(DATABASE_DOWN)


def _harden(response: Response) -> Response:
    for name, value in _HEADERS.items():
        if name != "Cache-Control" or request.endpoint != "static":
            response.headers[name] = value
    return response
