"""Logins by a provider on the web: OpenID Connect, GitHub, Google.

oauthenticator 17.4.0 takes each failure of a refresh for the end of a session, so that a provider
which is away for a minute would end everybody's servers, and asks for the allow rule at a login
alone (its issue 729).
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlparse

from jupyterhub.utils import url_path_join
from oauthenticator.generic import GenericOAuthenticator
from oauthenticator.github import GitHubOAuthenticator
from oauthenticator.google import GoogleOAuthenticator
from oauthenticator.oauth2 import (
    STATE_COOKIE_NAME,
    OAuthCallbackHandler,
    OAuthenticator,
    OAuthLoginHandler,
    OAuthLogoutHandler,
)
from tornado import web
from tornado.httpclient import HTTPClientError
from tornado.httputil import url_concat
from traitlets import Bool, Unicode, default

from hubstead_hub.handlers import EverywhereLogoutHandler
from hubstead_hub.may_stay import AwayError, MayStay, UnaskableError

#: Errors of a token endpoint (RFC 6749, 5.2) that say something of the person, and not of us
ENDED = {"invalid_grant"}


def _error_of(error: HTTPClientError) -> str:
    """What the provider says is wrong: the code of RFC 6749, 5.2, or the status."""
    try:
        return str(json.loads(error.response.body if error.response else b"")["error"])[:100]
    except (KeyError, TypeError, ValueError):
        return f"status {error.code}"


def _is_away(code: int, headers: Mapping[str, str]) -> bool:
    """Whether an answer says nothing of the person.

    Who asked too often is told so by 429, and by GitHub also by 403 (GitHub, "Rate limits for the
    REST API").
    """
    told_to_wait = "Retry-After" in headers or headers.get("X-RateLimit-Remaining") == "0"
    return code == 429 or code >= 500 or (code == 403 and told_to_wait)


def _has_ended(token: dict[str, Any]) -> bool:
    """Whether an access token is none any more by itself; where no end was told it has none."""
    try:
        return bool(token["obtained_at"] + float(token["expires_in"]) <= time.time())
    except (KeyError, TypeError, ValueError):
        return False


class ProviderLoginHandler(OAuthLoginHandler):
    """Leads to the provider."""

    def set_state_cookie(self, state_cookie_value: str) -> None:
        cookie = self.authenticator.state_cookie
        self._set_cookie(cookie, state_cookie_value, expires_days=1, httponly=True)


class ProviderCallbackHandler(OAuthCallbackHandler):
    """Where a provider leads people back to."""

    def get_state_cookie(self) -> str:
        """As oauthenticator does, which has one name for the cookies of all providers."""
        if self._state_cookie is None:
            cookie = self.authenticator.state_cookie
            self._state_cookie = (self.get_secure_cookie(cookie) or b"").decode(errors="replace")
            self.clear_cookie(cookie)
        return str(self._state_cookie)

    def _request_summary(self) -> str:
        """For the log: JupyterHub 6.1.1 writes the code of a login there that failed."""
        return f"{self.request.method} {self.request.path}"


class ProviderLogoutHandler(EverywhereLogoutHandler, OAuthLogoutHandler):
    """Logs out of the Hub everywhere, and of the provider where it has an address for that."""

    async def default_handle_logout(self) -> None:
        state = await self.current_user.get_auth_state() if self.current_user else None
        self._id_token = ((state or {}).get("token_response") or {}).get("id_token")
        await super().default_handle_logout()

    async def render_logout_page(self) -> None:
        """OpenID Connect RP-Initiated Logout 1.0, 2."""
        end = self.authenticator.end_session_url
        if not end or not self._id_token:
            await super().render_logout_page()
            return
        query = {"id_token_hint": self._id_token, "client_id": self.authenticator.client_id}
        back = self.authenticator.after_logout_url
        self.redirect(url_concat(end, query | ({"post_logout_redirect_uri": back} if back else {})))


class _Provider(MayStay, OAuthenticator):
    """What the providers share; comes before one of oauthenticator's among the bases."""

    login_handler = ProviderLoginHandler
    callback_handler = ProviderCallbackHandler
    logout_handler = ProviderLogoutHandler

    end_session_url = Unicode(
        help="Where a logout of the provider's begins (OpenID Connect's end_session_endpoint)."
    ).tag(config=True)

    after_logout_url = Unicode(
        help="Where the provider leads to then; it has to be registered there."
    ).tag(config=True)

    @property
    def state_cookie(self) -> str:
        """What binds a login to the browser and, of several providers, to the one it is at.

        An answer of another one's is none (RFC 9700, 4.4): the signature has the name in it.
        """
        return f"{STATE_COOKIE_NAME}-{self.way}" if self.way else STATE_COOKIE_NAME

    def login_url(self, base_url: str) -> str:
        return str(url_path_join(base_url, self.way, "oauth_login"))

    def get_handlers(self, app: Any) -> list[tuple[str, type]]:
        """Where a login begins, and where the provider leads back to."""
        own = f"/{self.way}" if self.way else ""
        return [
            (f"{own}/oauth_login", self.login_handler),
            (f"{own}/oauth_callback", self.callback_handler),
            ("/logout", self.logout_handler),
        ]

    @default("enable_auth_state")
    def _enable_auth_state_default(self) -> bool:
        # what the provider is asked with again
        return True

    @default("http_request_kwargs")
    def _http_request_kwargs_default(self) -> dict[str, float]:
        # tornado's 20 each are long for a page that waits for it
        return {"connect_timeout": 5, "request_timeout": 10}

    @default("custom_403_message")
    def _custom_403_message_default(self) -> str:
        return (
            f"{self.login_service} knows you, but you may not use this service. If you should, ask "
            "the people who run it."
        )

    async def httpfetch(self, url: str, *arguments: Any, **options: Any) -> Any:
        """As oauthenticator does; AwayError where what answers is no answer about a person."""
        where = urlparse(url).hostname
        try:
            answer = await super().httpfetch(url, *arguments, **options)
        except HTTPClientError as error:
            if _is_away(error.code, error.response.headers if error.response else {}):
                raise AwayError(f"{where}: {error}") from error
            raise
        except (OSError, ValueError) as error:
            raise AwayError(f"{where}: {error!r}") from error
        code = getattr(answer, "code", 200)
        if answer is None or _is_away(code, getattr(answer, "headers", {})):
            raise AwayError(f"{where}: status {code}, or nothing at all")
        return answer

    async def authenticate(self, handler: Any, data: Any = None, **options: Any) -> Any:
        try:
            return await super().authenticate(handler, data, **options)
        except AwayError as error:
            self.log.error("Nobody can log in: %s", error.why)
            raise
        except HTTPClientError as error:
            said = _error_of(error)
            if said in ENDED:
                raise web.HTTPError(403, "This login took too long. Please try again.") from None
            self.log.error("Nobody can log in: the provider refuses us: %s", said)
            raise web.HTTPError(
                503, "The login service refuses this Hub. Please tell the people who run it."
            ) from None

    def user_info_to_username(self, user_info: dict[str, Any]) -> str:
        """As oauthenticator does; its error is a page without words, and the log has all it knows.

        Raises HTTPError: 403 where there is no name.
        """
        claim = self.username_claim
        name = user_info.get(claim)
        if not isinstance(name, str) or not name:
            self._refuse(f"the login service tells no {claim!r} of you.")
        # Google's older document calls it the other way round
        verified = user_info.get("email_verified", user_info.get("verified_email"))
        if claim == "email" and verified not in (True, "true"):
            # else whoever writes somebody else's address into their account is them
            self._refuse(f"the login service has not verified that {name} is yours.")
        return str(super().user_info_to_username(user_info))

    async def get_token_info(self, handler: Any, params: Any) -> Any:
        """As oauthenticator does, with the moment, which `expires_in` begins at (RFC 6749, 5.1)."""
        return {"obtained_at": time.time(), **await super().get_token_info(handler, params)}

    async def ask(self, user: Any, handler: Any) -> dict[str, Any] | None:
        state = await user.get_auth_state()
        if not state:
            return None
        try:
            return await self._told_by(state["token_response"])
        except HTTPClientError:
            # that token has ended, as they do
            pass
        if not state.get("refresh_token"):
            if _has_ended(state["token_response"]):
                raise UnaskableError("the provider gave no token that lasts (docs/accounts.md)")
            return None
        request = self.build_refresh_token_request_params(state["refresh_token"])
        try:
            new = await self.get_token_info(handler, request)
        except HTTPClientError as error:
            said = _error_of(error)
            if said in ENDED:
                return None
            raise AwayError(f"the provider refuses us: {said}") from None
        # neither has to be told again (RFC 6749, 6; OpenID Connect Core 1.0, 12.2)
        before = {"refresh_token": state["refresh_token"]}
        if state["token_response"].get("id_token"):
            before["id_token"] = state["token_response"]["id_token"]
        try:
            return await self._told_by(before | {key: one for key, one in new.items() if one})
        except HTTPClientError:
            return None

    async def _told_by(self, token: dict[str, Any]) -> dict[str, Any] | None:
        """What the provider tells of whose token it is."""
        try:
            found: dict[str, Any] = await self._token_to_auth_model(token)
        except AwayError:
            raise
        except web.HTTPError as error:
            if error.status_code >= 500:
                raise AwayError(str(error.log_message)) from error
            return None
        return found


class OpenIDConnect(_Provider, GenericOAuthenticator):
    """Any provider of OpenID Connect."""

    issuer = Unicode(help="The provider, as its `.well-known` document has it.").tag(config=True)

    @property
    def kind(self) -> str:
        return f"oidc_{hashlib.sha256(self.issuer.encode()).hexdigest()[:8]}"

    def identity(self, found: dict[str, Any]) -> str:
        return str(found["auth_state"][self.user_auth_state_key]["sub"])


class GitHub(_Provider, GitHubOAuthenticator):
    """GitHub, or a GitHub Enterprise Server."""

    @property
    def kind(self) -> str:
        return f"github_{hashlib.sha256(self.github_url.encode()).hexdigest()[:8]}"

    def identity(self, found: dict[str, Any]) -> str:
        # a login name can be had by another after a while
        return str(found["auth_state"][self.user_auth_state_key]["id"])

    async def check_allowed(self, username: str, authentication: Any = None) -> bool:
        """Organisations have people by GitHub's names."""
        if self.admits(username, authentication):
            return True
        login = authentication["auth_state"][self.user_auth_state_key]["login"]
        return bool(await GitHubOAuthenticator.check_allowed(self, login, authentication))


class Google(_Provider, GoogleOAuthenticator):  # type: ignore[misc]
    """Google."""

    @default("extra_authorize_params")
    def _extra_authorize_params_default(self) -> dict[str, str]:
        # else Google can be asked for an hour, and not again (Google Identity, "Offline access")
        return {"access_type": "offline", "prompt": "consent"}

    whole_domain = Bool(
        help="Whether everybody of `hosted_domain` may log in.",
    ).tag(config=True)

    @property
    def kind(self) -> str:
        return "google"

    def identity(self, found: dict[str, Any]) -> str:
        return str(found["auth_state"][self.user_auth_state_key]["id"])

    async def check_allowed(self, username: str, authentication: Any = None) -> bool:
        """Raises HTTPError: 403 for an address that Google has not verified."""
        if await super().check_allowed(username, authentication):
            return True
        # check_blocked_users has looked at the domain
        return bool(self.whole_domain and self.hosted_domain)
