"""The Hub at its own name, and people's servers at others.

A browser shares what it has among the pages of one origin (RFC 6454, 4). JupyterHub with
``subdomain_host`` gives servers other names, and leaves two things open that this closes: the Hub
answers at their names too, and a server that runs while they change waits for logins at its former
one.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from jupyterhub import orm
from jupyterhub.apihandlers import auth
from jupyterhub.handlers import base
from tornado import web

#: Not typed, and to be changed here
_BaseHandler: Any = base.BaseHandler
_OAuthHandler: Any = auth.OAuthHandler


class OneName:
    """A ``JupyterHub.subdomain_hook``: all people's servers are at one name."""

    def __init__(self, servers_name: str) -> None:
        self.servers_name = servers_name

    def __call__(self, name: str, domain: str, kind: str) -> str:
        """The name at which JupyterHub puts a user's server, or a service; `domain` is the Hub's.

        Services are the owner's own, and stay at the Hub's name.
        """
        return self.servers_name if kind == "user" else domain


def keep_the_hub_at_its_name() -> None:
    """Have the Hub answer at its own name alone, and at its address on the users' network.

    At a server's name a page of the server would share its origin: who logged in there, at a page
    that looks as always since it is the Hub's, would have logged in for the server's owner.
    """
    prepared = _BaseHandler.prepare

    async def prepare(self: Any) -> None:
        if _is_at_home(self):
            await prepared(self)
            return
        # nobody is logged in here, whatever cookies say
        self._jupyterhub_user, self.expanded_scopes = None, set()
        if self.request.method not in ("GET", "HEAD"):
            raise web.HTTPError(421, "The Hub is at another name.")
        hub = self.public_url._replace(path="/").geturl()
        self.redirect(hub + self.request.uri.lstrip("/"))

    _BaseHandler.prepare = prepare


def _is_at_home(handler: Any) -> bool:
    # these lead from a server's name to the Hub's
    if isinstance(handler, base.PrefixRedirectHandler | base.AddSlashHandler):
        return True
    return handler.request.host_name in (handler.domain, urlsplit(handler.hub.api_url).hostname)


def lead_back_to_where_servers_are() -> None:
    """Send people from the Hub's login to their server at its present name.

    A server that runs longer than its name says the one that it was started with, and so does the
    Hub's note of it, with which the Hub compares (RFC 6749, 3.1.2.3); both stay.
    """
    send = _OAuthHandler.send_oauth_response

    def send_oauth_response(
        self: Any, headers: dict[str, str], body: str | None, status: int
    ) -> None:
        location, server = headers.get("Location"), _server_of(self)
        if location and server:
            host = self._user_from_orm(server.user).host
            path = urlsplit(location)._replace(scheme="", netloc="").geturl()
            headers = {**headers, "Location": host + path}
        send(self, headers, body, status)

    _OAuthHandler.send_oauth_response = send_oauth_response


def _server_of(handler: Any) -> orm.Spawner | None:
    """The server for which a request asks for a login; None for a service."""
    client = orm.OAuthClient
    identifier = handler.get_argument("client_id", "")
    found = handler.db.query(client).filter_by(identifier=identifier).first()
    return found.spawner if found else None
