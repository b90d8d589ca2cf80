"""Traefik: routes users to their servers, and faces the internet where there is no edge.

A unit of its own: restarting the Hub leaves it alone, so running servers stay reachable.
"""

from __future__ import annotations

import base64
import hashlib

import bcrypt
from pyinfra.api.deploy import deploy

from hubstead import hub, secrets
from hubstead.operations import accounts, files, units
from hubstead.render import render
from hubstead.roles import edge, tls
from hubstead.roles.base import ROLES, claim
from hubstead.roles.ports import refuse_taken_ports
from hubstead.roles.python import release
from hubstead.settings import load

USER = "traefik"
API_USER = "jupyterhub"
API_PORT = edge.API_PORTS["traefik"]
HUB_USER = "jupyterhub"
#: What Traefik watches: our certificate and API, and the routes, which the Hub writes
DYNAMIC = "/var/lib/traefik/dynamic"
UNIT = "/etc/systemd/system/traefik.service"
#: Traefik reads the certificate again when the file that names it changes
HOOK = f"#!/bin/sh\n# Written by Hubstead.\ntouch {DYNAMIC}/tls.toml\n"


def password() -> str:
    """The Hub's, for the API."""
    return secrets.generated("traefik_api_password", secrets.TOKEN)


def for_the_hub() -> hub.Configuration:
    """How the Hub tells Traefik its routes: in a file, which Traefik watches."""
    return hub.Configuration(
        traits={
            "JupyterHub": {"proxy_class": "traefik_file"},
            "TraefikFileProviderProxy": {
                # a unit of its own, with a user of its own, in the group of the routes' directory
                "should_start": False,
                "enable_setup_dynamic_config": False,
                "static_config_file": "",
                "dynamic_config_file": f"{DYNAMIC}/routes.toml",
                "traefik_entrypoint": "websecure",
                "traefik_api_url": f"http://127.0.0.1:{API_PORT}",
                "traefik_api_username": API_USER,
                "traefik_api_password": hub.credential("proxy"),
            },
        },
        code=("let_traefik_read_the_routes",),
    )


def _api_user() -> str:
    """The API's user as a line of htpasswd(1), with bcrypt.

    The salt is derived from the password, so that the line is the same in every run; each password
    is random and used once, so no two users share a salt.
    """
    secret = password().encode()
    digest = base64.b64encode(hashlib.sha256(b"salt" + secret).digest(), altchars=b"./")
    # 22 characters hold 132 bits and bcrypt's salt has 128: the last one is one of four
    salt = b"$2b$10$" + digest[:21] + b"e"
    return f"{API_USER}:{bcrypt.hashpw(secret, salt).decode()}"


def _ports(settings: edge.EdgeSettings) -> dict[str, int]:
    keys = ["proxy_port"] if settings.edge != "none" else ["edge_http_port", "edge_https_port"]
    return {key: getattr(settings, key) for key in keys}


@deploy("traefik")
def traefik() -> None:
    settings = load(edge.EdgeSettings)
    refuse_taken_ports("traefik", _ports(settings))
    static, certificate, api = (
        "/etc/traefik/traefik.toml",
        f"{DYNAMIC}/tls.toml",
        f"{DYNAMIC}/api.toml",
    )
    directory = tls.INTERNAL if settings.edge != "none" else tls.public_directory()

    claim("traefik")
    accounts.system_user(
        name="Create the user traefik",
        user=USER,
        home="/var/lib/traefik",
        groups=[tls.GROUP],
    )
    accounts.system_user(
        name="Create the user jupyterhub", user=HUB_USER, home="/var/lib/jupyterhub"
    )
    release(name="Build the release of Traefik", component="traefik")
    files.present(
        name="Write Traefik's configuration",
        entries={
            "/etc/traefik": files.Directory(mode="750", group=USER),
            static: files.File(
                render(
                    "traefik",
                    static,
                    settings=settings,
                    listen="127.0.0.1" if edge.shares_host() else "",
                    edge_networks=edge.edge_networks(),
                    api_port=API_PORT,
                    dynamic=DYNAMIC,
                ),
                mode="640",
                group=USER,
            ),
            "/var/lib/traefik": files.Directory(),
            # the Hub writes its routes here
            DYNAMIC: files.Directory(mode="2750", user=HUB_USER, group=USER),
            certificate: files.File(
                render(
                    "traefik",
                    certificate,
                    directory=directory,
                    challenges=tls.challenges() if settings.edge == "none" else None,
                ),
                mode="640",
                group=USER,
            ),
            api: files.secret(render("traefik", api, user=_api_user()), mode="640", group=USER),
            f"{directory}/hooks/traefik": files.File(HOOK, mode="755"),
            UNIT: files.File(render("traefik", UNIT, user=USER)),
        },
    )
    units.running(
        name="Run Traefik",
        unit="traefik.service",
        inputs=[static, "/opt/hubstead/traefik/current"],
    )


@deploy("traefik")
def absent() -> None:
    """Remove it; the users' servers run on."""
    units.stopped(name="Stop Traefik", unit="traefik.service")
    accounts.absent(name="Remove the user traefik", user=USER)
    files.present(
        name="Remove Traefik",
        entries={
            UNIT: None,
            "/etc/traefik": None,
            "/var/lib/traefik": None,
            "/opt/hubstead/traefik": None,
            f"{tls.INTERNAL}/hooks/traefik": None,
            f"{tls.PUBLIC}/hooks/traefik": None,
            f"{ROLES}/traefik": None,
        },
    )
