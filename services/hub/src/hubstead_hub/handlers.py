"""The Hub's login form and its page to change one's password."""

from typing import Any

from jupyterhub.handlers.base import BaseHandler
from jupyterhub.handlers.login import LoginHandler, LogoutHandler
from jupyterhub.utils import url_path_join
from tornado import web
from tornado.httputil import url_concat

from hubstead_hub.authenticator import PasswordChangeRequired
from hubstead_hub.sessions import end_browsers
from hubstead_userdb.names import is_username


class _AnyBytes:
    """Takes form fields that are no UTF-8 for what they are: wrong, but no error of the form."""

    def decode_argument(self, value: bytes, name: str | None = None) -> str:
        return value.decode(errors="replace")


class PasswordLoginHandler(_AnyBytes, LoginHandler):
    """JupyterHub's login form, which takes whatever is sent."""

    async def post(self) -> None:
        """Log in."""
        for name in ("username", "password"):
            # JupyterHub's own handler expects both fields, and answers 500 without them.
            self.request.body_arguments.setdefault(name, [b""])
        await super().post()


class TableLoginHandler(PasswordLoginHandler):
    """The same, which leads on to the password page where that has to come first."""

    async def post(self) -> None:
        """Log in."""
        try:
            await super().post()
        except PasswordChangeRequired as change:
            url = url_path_join(self.hub.base_url, "change-password")
            query = {"username": change.username}
            if self.get_argument("next", ""):
                query["next"] = self.get_argument("next")
            self.redirect(url_concat(url, query))


class EverywhereLogoutHandler(LogoutHandler):
    """Logs out of all browsers: a copy of the cookie cannot be told from the cookie."""

    def _backend_logout_cleanup(self, name: str) -> None:
        end_browsers(self.db, self.current_user)
        super()._backend_logout_cleanup(name)


class ChangePasswordHandler(_AnyBytes, BaseHandler):
    """Where people change their own password, whether they are logged in or cannot be before."""

    async def get(self) -> None:
        """Show the form."""
        await self._show()

    async def post(self) -> None:
        """Change the password, end the user's other sessions, log in, and go on to ``next``."""
        username = self._username()
        new_password = self.get_argument("new_password", "", strip=False)
        problem = self._problem(username, new_password)
        if problem:
            await self._show(problem, status=400)
            return
        current = self.get_argument("password", "", strip=False)
        user = await self.authenticator.verify(self, username, current)
        if user is None:
            await self._show(
                "The current password is wrong."
                if self.current_user
                else "Invalid username or password",
                status=403,
            )
            return
        if new_password == current:
            await self._show("The new password must differ from the current one.", status=400)
            return
        if not await self.authenticator.change_password(user, new_password):
            await self._show("Your account was changed meanwhile. Please try again.", status=409)
            return
        self.log.info("User %s changed the password", user.username)
        was_logged_in = self.current_user is not None
        self._end_other_sessions(user.username)
        hub_user = await self.login_user({"username": user.username, "password": new_password})
        if hub_user is None:
            # Right password, but the Hub's own rules (blocked_users) keep the user out.
            await self._show("Your password was changed, but you may not log in.", status=403)
            return
        done = f"{self.request.path}?changed=1" if was_logged_in else None
        self.redirect(self.get_next_url(hub_user, default=done))

    def check_xsrf_cookie(self) -> None:
        """As JupyterHub does, with its login form's plainer words."""
        try:
            super().check_xsrf_cookie()
        except web.HTTPError as error:
            self.log.warning("XSRF error on the password form: %s", error)
            raise web.HTTPError(403, "Form invalid or expired. Try again.") from error

    def render_template(self, name: str, sync: bool = False, **ns: Any) -> Any:
        """Show the errors of a submitted form above the form, not on a page of their own."""
        if name == "error.html" and self.request.method == "POST":
            error = ns.get("message") or ns.get("status_message", "")
            return super().render_template("change-password.html", sync, **self._namespace(error))
        return super().render_template(name, sync, **ns)

    def _username(self) -> str:
        if self.current_user:
            return str(self.current_user.name)
        return str(self.authenticator.normalize_username(self.get_argument("username", "")))

    def _problem(self, username: str, new_password: str) -> str | None:
        if not username:
            return "Enter your username."
        if b"\0" in b"".join(self.request.body_arguments.get("new_password", [])):
            # get_argument has made a space of it.
            return "The password contains a control character."
        if new_password != self.get_argument("new_password_again", "", strip=False):
            return "The two new passwords differ."
        problem: str | None = self.authenticator.passwords.problem(new_password, username)
        return problem

    async def _show(self, error: str | None = None, status: int = 200) -> None:
        self.set_status(status)
        self.finish(await self.render_template("change-password.html", **self._namespace(error)))

    def _namespace(self, error: str | None) -> dict[str, Any]:
        given = self.get_argument("username", "") if not self.current_user else ""
        return {
            "username": self._username() if self.current_user or is_username(given) else "",
            # The login form sends people here with their name; others come by themselves.
            "must_change": bool(self.get_query_argument("username", "")) and not self.current_user,
            "min_length": self.authenticator.minimum_password_length,
            "next": self.get_argument("next", ""),
            "error": error,
            "changed": bool(self.get_query_argument("changed", "")) and error is None,
            "action": self.request.path,
        }

    def _end_other_sessions(self, username: str) -> None:
        """Log the user out of all other browsers; tokens that the user made go on."""
        user = self.find_user(username)
        if user is not None:
            # This browser gets a new login cookie by logging in. Its sessions with running servers
            # go on, or its open notebooks could not be saved.
            end_browsers(self.db, user, self.get_session_cookie() if self.current_user else None)
