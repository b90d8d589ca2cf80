"""Traefik: faces the internet and routes users to their servers; a unit of its own.

Restarting the Hub leaves it alone, so running servers stay reachable.
"""

from __future__ import annotations

import base64
import hashlib
import re
from typing import Literal

import bcrypt
from pydantic import Field, field_validator
from pyinfra.api.deploy import deploy

from hubstead import secrets
from hubstead.operations import accounts, files, internal_ca, units
from hubstead.render import render
from hubstead.roles.base import refuse_taken_ports
from hubstead.roles.python import release
from hubstead.settings import Settings, load
from hubstead.topology import tier_host

USER = "traefik"
API_USER = "jupyterhub"
API_PORT = 8099
HUB_USER = "jupyterhub"
#: What Traefik watches: our certificate and API, and the routes, which the Hub writes
DYNAMIC = "/var/lib/traefik/dynamic"
_HOST_NAME = re.compile(r"(?=.{1,253}$)([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z0-9-]{1,63}")


class ProxySettings(Settings):
    """What faces the internet."""

    prefixes = ("proxy_", "edge_", "tls_")

    proxy: Literal["traefik"] = Field("traefik", description="What routes users to their servers.")
    edge: Literal["none"] = Field(
        "none", description="What faces the internet in front of it; none: the proxy itself."
    )
    tls: Literal["internal"] = Field(
        "internal",
        description="Where the certificate comes from; internal: an authority of its own, made "
        "once on the host, whose root certificate people have to trust.",
    )
    hub_names: list[str] = Field(
        [],
        description="Names under which people reach the service, the main one first; by default "
        "the host's name in the inventory.",
    )
    proxy_http_port: int = Field(80, ge=1, le=65535, description="Port that leads to HTTPS.")
    proxy_https_port: int = Field(443, ge=1, le=65535, description="Port of the service.")

    @field_validator("hub_names")
    @classmethod
    def _names(cls, value: list[str]) -> list[str]:
        for name in value:
            if not _HOST_NAME.fullmatch(name):
                raise ValueError(f"{name!r} is not a host name such as hub.example.org")
        return value

    def check(self) -> None:
        if self.proxy_http_port == self.proxy_https_port:
            raise ValueError("`proxy_http_port` and `proxy_https_port` must differ")
        for key in ("proxy_http_port", "proxy_https_port"):
            if getattr(self, key) == API_PORT:
                raise ValueError(f"`{key}` = {API_PORT}: Traefik's own API has this port")


def names() -> list[str]:
    """The names of the service, the main one first."""
    hub = tier_host("hub").name
    return load(ProxySettings).hub_names or ["localhost" if hub.startswith("@") else hub]


def public_url() -> str:
    """The address of the service, without a path."""
    port = load(ProxySettings).proxy_https_port
    return f"https://{names()[0]}" + ("" if port == 443 else f":{port}")


def _api_user() -> str:
    """The API's user as a line of htpasswd(1), with bcrypt.

    The salt is derived from the password, so that the line is the same in every run; each password
    is random and used once, so no two users share a salt.
    """
    password = secrets.generated("traefik_api_password").encode()
    digest = base64.b64encode(hashlib.sha256(b"salt" + password).digest(), altchars=b"./")
    # 22 characters hold 132 bits and bcrypt's salt has 128: the last one is one of four
    salt = b"$2b$10$" + digest[:21] + b"e"
    return f"{API_USER}:{bcrypt.hashpw(password, salt).decode()}"


@deploy("traefik")
def traefik() -> None:
    settings = load(ProxySettings)
    refuse_taken_ports(
        "traefik",
        {
            "proxy_http_port": settings.proxy_http_port,
            "proxy_https_port": settings.proxy_https_port,
        },
    )
    static, tls, api = (
        "/etc/traefik/traefik.toml",
        f"{DYNAMIC}/tls.toml",
        f"{DYNAMIC}/api.toml",
    )
    service, timer = (
        f"/etc/systemd/system/hubstead-certificate.{suffix}" for suffix in ("service", "timer")
    )

    accounts.system_user(name="Create the user traefik", user=USER, home="/var/lib/traefik")
    accounts.system_user(
        name="Create the user jupyterhub", user=HUB_USER, home="/var/lib/jupyterhub"
    )
    release(name="Build the release of Traefik", component="traefik")
    files.present(
        name="Write what issues the certificate",
        entries={
            "/etc/hubstead/tls": files.Directory(),
            "/etc/hubstead/tls/names": files.File("".join(f"{name}\n" for name in names())),
            "/usr/local/lib/hubstead": files.Directory(),
            internal_ca.SCRIPT: files.File(
                render("traefik", internal_ca.SCRIPT, group=USER, tls=tls), mode="755"
            ),
            service: files.File(render("traefik", service)),
            timer: files.File(render("traefik", timer)),
        },
    )
    internal_ca.issued(name="Issue the certificate")
    units.running(name="Renew it in time", unit="hubstead-certificate.timer")
    files.present(
        name="Write Traefik's configuration",
        entries={
            "/etc/traefik": files.Directory(mode="750", group=USER),
            static: files.File(
                render("traefik", static, settings=settings, api_port=API_PORT, dynamic=DYNAMIC),
                mode="640",
                group=USER,
            ),
            "/var/lib/traefik": files.Directory(),
            # the Hub writes its routes here
            DYNAMIC: files.Directory(mode="2750", user=HUB_USER, group=USER),
            tls: files.File(render("traefik", tls), mode="640", group=USER),
            api: files.secret(render("traefik", api, user=_api_user()), mode="640", group=USER),
            "/etc/systemd/system/traefik.service": files.File(
                render("traefik", "/etc/systemd/system/traefik.service", user=USER)
            ),
        },
    )
    units.running(
        name="Run Traefik",
        unit="traefik.service",
        inputs=[static, "/opt/hubstead/traefik/current"],
    )
