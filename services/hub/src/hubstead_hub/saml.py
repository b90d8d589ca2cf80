"""Login by an identity provider of SAML 2.0: Shibboleth, ADFS, Entra ID, Keycloak, Okta.

No package for that works with JupyterHub 6.1.1.
"""

from __future__ import annotations

import hashlib
import json
import time
from functools import cached_property
from typing import Any, NamedTuple

from jupyterhub.handlers.base import BaseHandler
from jupyterhub.utils import url_path_join
from tornado import web
from traitlets import Bool, Integer, List, Unicode, default

from hubstead_hub.guessing import Guessing
from hubstead_hub.handlers import EverywhereLogoutHandler
from hubstead_hub.may_stay import MayStay, UnaskableError
from hubstead_hub.saml_answers import (
    PATIENCE,
    Answers,
    Login,
    NotLoggedInError,
    Provider,
    RefusedError,
    Service,
)
from hubstead_userdb.throttle import source

#: Nothing that another host's page, or a person's server, sets can take its place (RFC 6265bis,
#: 4.1.3.2)
COOKIE = "__Host-hubstead-saml"
#: Requests of one browser at once, in tabs, and characters of where one leads to after the login
TABS, LONGEST_NEXT = 4, 500


class Begun(NamedTuple):
    """A request: its ID, when it began (time.time), and the page that it leads to."""

    id: str
    at: float
    next: str


class _RequestsHandler(BaseHandler):
    """Keeps what a browser began in a signed cookie of that browser.

    An answer to anything else is refused: whoever sends their own to somebody else's browser would
    log them in as themselves. It comes by the provider's page, so the cookie is sent with requests
    from other sites (SameSite=None), and the answer has nothing else that binds it to the browser.
    """

    def begun(self) -> list[Begun]:
        """Requests of this browser, of the last minutes and of this Hub."""
        text = self.get_secure_cookie(COOKIE, max_age_days=1)
        try:
            found = [Begun(*one) for one in json.loads(text or b"[]")]
        except (TypeError, ValueError):
            return []
        now = time.time()
        # what a Hub of before has taken is not known here: it would count a second time
        oldest = max(now - PATIENCE, self.authenticator.started)
        return [one for one in found if oldest <= one.at <= now]

    def keep(self, requests: list[Begun]) -> None:
        options = {"path": "/", "secure": True, "samesite": "None"}
        if not requests:
            self.clear_cookie(COOKIE, **options)
            return
        text = json.dumps(requests[-TABS:])
        self._set_cookie(COOKIE, text, expires_days=None, max_age=PATIENCE, **options)


class SamlLoginHandler(_RequestsHandler):
    """Leads to the provider."""

    def get(self) -> None:
        name, url = self.authenticator.answers.request()
        wanted = self.get_argument("next", "")
        if len(wanted) > LONGEST_NEXT:
            wanted = ""
        self.keep([*self.begun(), Begun(name, time.time(), wanted)])
        self.redirect(url)


class SamlAnswerHandler(_RequestsHandler):
    """Where the provider's page sends its answer to."""

    #: The request that it was to, once it has counted
    answered = ""

    def check_xsrf_cookie(self) -> None:
        """It comes from another site, and names a request that this browser began."""

    async def post(self) -> None:
        """Log in."""
        begun = {one.id: one for one in self.begun()}
        if not begun:
            raise web.HTTPError(
                403,
                "This browser began no login here in the last minutes, or does not keep cookies. "
                "Please try again.",
            )
        sent = self.request.body_arguments.get("SAMLResponse", [b""])[-1]
        user = await self.login_user({"answer": sent, "requests": set(begun)})
        if user is None:
            raise web.HTTPError(403)
        self._jupyterhub_user = user
        done = begun.pop(self.answered)
        self.keep(list(begun.values()))
        self.redirect(self._validate_next_url(done.next) or self.get_next_url(user))


class SamlMetadataHandler(BaseHandler):
    """What the provider has to know of this service."""

    def get(self) -> None:
        self.set_header("Content-Type", "application/samlmetadata+xml")
        self.finish(self.authenticator.answers.metadata)


class SamlLogoutHandler(EverywhereLogoutHandler):
    """Logs out of the Hub everywhere, and of the provider where it has an address for that."""

    async def default_handle_logout(self) -> None:
        self._session = await self.session()
        await super().default_handle_logout()

    async def session(self) -> dict[str, Any]:
        """What the provider said of who is logged in."""
        state = await self.current_user.get_auth_state() if self.current_user else None
        return (state or {}).get("saml") or {}

    async def render_logout_page(self) -> None:
        session, url = self._session, ""
        if session.get("name_id"):
            url = self.authenticator.answers.logout(session["name_id"], session["session"])
        if url:
            self.redirect(url)
        else:
            await super().render_logout_page()


class SamlSingleLogoutHandler(SamlLogoutHandler):
    """Where the provider leads people back to, and from where it logs them out itself."""

    async def get(self) -> None:
        """Log out whom the provider names, in this browser."""
        query = {name: self.get_query_argument(name) for name in self.request.query_arguments}
        if "SAMLRequest" not in query:
            self.redirect(self.settings["login_url"])
            return
        wanted = ("SAMLRequest", "RelayState", "SigAlg", "Signature")
        try:
            name, url = self.authenticator.answers.asked_to_log_out(
                {key: query[key] for key in wanted if key in query}
            )
        except RefusedError as error:
            self.log.warning("Refused a logout: %s", error)
            raise web.HTTPError(403, "This is no logout of the login service's.") from None
        if (await self.session()).get("name_id_text") == name:
            await self.default_handle_logout()
        self.redirect(url)


class Saml(Guessing, MayStay):
    """Logs in whom the provider vouches for."""

    who_knows = "The login service"

    # JupyterHub's own is no setting
    login_service = Unicode(help="What the button says after: Sign in with.").tag(config=True)
    entity_id = Unicode(help="The provider's name.").tag(config=True)
    sign_in_url = Unicode(help="Where a login begins.").tag(config=True)
    sign_out_url = Unicode(help="Where a logout begins; empty: it has none.").tag(config=True)
    certificates = List(Unicode(), help="Of keys that it signs with: base64 of DER.").tag(
        config=True
    )
    signed_requests = Bool(help="Whether it wants requests signed.").tag(config=True)
    service_url = Unicode(help="The Hub's own address, such as https://NAME/hub.").tag(config=True)
    key_file = Unicode(help="The Hub's key, in PEM.").tag(config=True)
    certificate_file = Unicode(help="The certificate of that, in PEM.").tag(config=True)
    username_attribute = Unicode(help="What is somebody's name; empty: the NameID.").tag(
        config=True
    )
    groups_attribute = Unicode("groups", help="What lists somebody's groups.").tag(config=True)
    session_seconds = Integer(
        12 * 3600, min=1, help="Seconds for which a login counts, unless the provider says less."
    ).tag(config=True)
    xmlsec1 = Unicode("/usr/bin/xmlsec1", help="What checks signatures.").tag(config=True)

    @default("password_queue")
    def _password_queue_default(self) -> int:
        # answers that wait are kept in memory, and are longer than passwords
        return 400

    @default("password_queue_of_one")
    def _password_queue_of_one_default(self) -> int:
        return 200

    @default("enable_auth_state")
    def _enable_auth_state_default(self) -> bool:
        # what the provider said, which cannot be asked again
        return True

    @cached_property
    def started(self) -> float:
        return time.time()

    @property
    def kind(self) -> str:
        return f"saml_{hashlib.sha256(self.entity_id.encode()).hexdigest()[:8]}"

    def identity(self, found: dict[str, Any]) -> str:
        return str(found["auth_state"]["saml"]["identity"])

    @cached_property
    def answers(self) -> Answers:
        """Requests to the provider, and what it answers."""
        return Answers(
            Provider(
                self.entity_id,
                self.sign_in_url,
                tuple(self.certificates),
                self.sign_out_url,
                self.signed_requests,
            ),
            Service(
                f"{self.service_url}/saml/metadata",
                f"{self.service_url}/saml/acs",
                f"{self.service_url}/saml/logout",
                self.key_file,
                self.certificate_file,
            ),
            self.xmlsec1,
        )

    def login_url(self, base_url: str) -> str:
        return str(url_path_join(base_url, "saml/login"))

    def get_handlers(self, app: Any) -> list[tuple[str, type]]:
        """What the provider and people's browsers ask for."""
        # before anybody waits for it
        assert self.started and self.answers
        return [
            ("/saml/login", SamlLoginHandler),
            ("/saml/acs", SamlAnswerHandler),
            ("/saml/metadata", SamlMetadataHandler),
            ("/saml/logout", SamlSingleLogoutHandler),
            ("/logout", SamlLogoutHandler),
        ]

    async def authenticate(self, handler: Any, data: Any = None, **options: Any) -> Any:
        """Who logs in by an answer of the provider's.

        :raises HTTPError: 403 for an answer that does not count and for who is known and may not,
            503 where too many wait.
        """
        whose = source(self._address(handler.request))
        try:
            login = await self.in_turn(
                whose, self.answers.checked, data["answer"], data["requests"]
            )
        except NotLoggedInError as error:
            self.log.warning("The provider logged nobody in: %s", error)
            raise web.HTTPError(
                403, f"{self.login_service} did not log you in: {error}. Please try again."
            ) from None
        except RefusedError as error:
            self.log.warning("Refused an answer of the provider's: %s", error)
            raise web.HTTPError(
                403,
                "You cannot log in here by this answer of the login service. Please try again; if "
                "that is in vain, ask the people who run this service: their log has the reason.",
            ) from None
        handler.answered = login.request
        found = self._in_our_terms(self._described(login))
        await self._refuse_who_may_not(found)
        return found

    def _described(self, login: Login) -> dict[str, Any]:
        name = login.name
        if self.username_attribute:
            values = login.attributes.get(self.username_attribute, ())
            if len(values) != 1:
                self._refuse(
                    f"the login service tells {'several' if values else 'no'} "
                    f"{self.username_attribute!r} of you."
                )
            name = values[0]
        if not name:
            self._refuse("the login service tells no NameID of you.")
        ends = time.time() + self.session_seconds
        state = {
            "name": name,
            # others may come and go: who logs in by a name has to be who did before
            "identity": login.account or name,
            "groups": list(login.attributes.get(self.groups_attribute, ())),
            "until": min(ends, login.ends or ends),
            "name_id": login.name_id,
            "name_id_text": login.name,
            "session": login.session,
        }
        return _found({"saml": state})

    async def ask(self, user: Any, handler: Any) -> dict[str, Any] | None:
        """What the provider said at the login, for the rules to be applied to it again."""
        state = await user.get_auth_state()
        return _found(state) if state and "saml" in state else None

    async def _asked(self, user: Any, handler: Any) -> bool:
        stays = await super()._asked(user, handler)
        if stays and (await user.get_auth_state())["saml"]["until"] <= time.time():
            raise UnaskableError("the provider's word has ended (docs/accounts.md)")
        return stays


def _found(state: dict[str, Any]) -> dict[str, Any]:
    said = state["saml"]
    return {"name": said["name"], "groups": said["groups"], "auth_state": state}
