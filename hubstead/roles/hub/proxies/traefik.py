"""Traefik: routes users to their servers, and faces the internet where there is no edge.

A unit of its own: restarting the Hub leaves it alone, so running servers stay reachable.
"""

from __future__ import annotations

import base64
import hashlib

import bcrypt
from pyinfra.api.deploy import deploy

from hubstead import certificates, hub, pages, secrets
from hubstead.listeners import LOOPBACK
from hubstead.notes import ROLES, claim
from hubstead.operations import accounts, checks, files, units
from hubstead.parts import Proxy
from hubstead.ports import held, hold_ports, refuse_another, refuse_taken_ports, release_ports
from hubstead.releases import release
from hubstead.render import render
from hubstead.settings.edge import EdgeSettings
from hubstead.site import Site

USER = "traefik"
API_USER = "jupyterhub"
#: On loopback; one that root alone can take, and that nobody has (IANA)
API_PORT = 10
#: What Traefik watches: our certificate and API, and a link to the routes, which the Hub writes
#: beside (programs/jupyterhub_config.py says why)
DYNAMIC = "/var/lib/traefik/dynamic"
ROUTES = "/var/lib/traefik/routes"
UNIT = "traefik.service"
_FILE = f"/etc/systemd/system/{UNIT}"
#: Traefik reads the certificate again when the file that names it changes
HOOK = f"#!/bin/sh\n# Written by Hubstead.\ntouch {DYNAMIC}/tls.toml\n"


def _password(site: Site) -> str:
    """The Hub's, for the API."""
    return site.secrets.generated("traefik_api_password", secrets.TOKEN)


def _configuration(site: Site) -> hub.Configuration:
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


def _api_user(site: Site) -> str:
    """The API's user as a line of htpasswd(1), with bcrypt.

    The salt is derived from the password, so that the line is the same in every run; each password
    is random and used once, so no two users share a salt.
    """
    secret = _password(site).encode()
    digest = base64.b64encode(hashlib.sha256(b"salt" + secret).digest(), altchars=b"./")
    # 22 characters hold 132 bits and bcrypt's salt has 128: the last one is one of four
    salt = b"$2b$10$" + digest[:21] + b"e"
    return f"{API_USER}:{bcrypt.hashpw(secret, salt).decode()}"


@deploy("traefik")
def traefik(site: Site) -> None:
    static, certificate, api = (
        "/etc/traefik/traefik.toml",
        f"{DYNAMIC}/tls.toml",
        f"{DYNAMIC}/api.toml",
    )
    refuse_another(site, "traefik", "traefik.service", static)
    for role in ("traefik", "pages"):
        refuse_taken_ports(site, role)
    directory = certificates.INTERNAL if site.has_edge else certificates.public_directory(site)

    claim(site, "traefik")
    pages.served(site)
    accounts.system_user(
        name="Create the user traefik",
        user=USER,
        home="/var/lib/traefik",
        groups=[certificates.GROUP],
    )
    accounts.system_user(
        name="Create the user jupyterhub", user=hub.USER, home="/var/lib/jupyterhub"
    )
    release(site, name="Build the release of Traefik", component="traefik")
    files.present(
        name="Write Traefik's configuration",
        entries={
            "/etc/traefik": files.Directory(mode="750", group=USER),
            static: files.File(
                render(
                    "traefik",
                    static,
                    settings=site[EdgeSettings],
                    listen="" if site.edge_apart else LOOPBACK,
                    edge_networks=site.edge_networks,
                    shared=[each.port for each in held(site, "traefik")],
                    api_port=API_PORT,
                    dynamic=DYNAMIC,
                ),
                mode="640",
                group=USER,
            ),
            "/var/lib/traefik": files.Directory(),
            DYNAMIC: files.Directory(mode="2750", user=hub.USER, group=USER),
            ROUTES: files.Directory(mode="2750", user=hub.USER, group=USER),
            certificate: files.File(
                render(
                    "traefik",
                    certificate,
                    directory=directory,
                    pages=pages.URL,
                    challenges=None if site.has_edge else certificates.challenges(site),
                ),
                mode="640",
                group=USER,
            ),
            api: files.secret(render("traefik", api, user=_api_user(site)), mode="640", group=USER),
            f"{directory}/hooks/traefik": files.File(HOOK, mode="755"),
            _FILE: files.File(render("traefik", _FILE, user=USER)),
        },
    )
    units.running(
        name="Run Traefik",
        unit=UNIT,
        inputs=[static, "/opt/hubstead/traefik/current"],
    )
    hold_ports(site, "traefik", USER)


@deploy("traefik")
def absent(site: Site) -> None:
    """Remove it; the users' servers run on."""
    units.stopped(name="Stop Traefik", unit=UNIT)
    release_ports("traefik")
    pages.absent()
    accounts.absent(name="Remove the user traefik", user=USER)
    files.present(
        name="Remove Traefik",
        entries={
            _FILE: None,
            "/etc/traefik": None,
            "/var/lib/traefik": None,
            "/opt/hubstead/traefik": None,
            **certificates.no_hooks("traefik"),
            f"{ROLES}/traefik": None,
        },
    )


def _check(site: Site) -> checks.Check:
    return checks.Check(
        name="Try the proxy's API without its password",
        part="The proxy's API",
        script=checks.answers(f"http://{LOOPBACK}:{API_PORT}/api/overview", 401),
        mend=f"{DYNAMIC}/api.toml",
        of="proxy",
        units=(UNIT,),
    )


PART = Proxy(
    unit=UNIT,
    user=USER,
    api_port=API_PORT,
    configuration=_configuration,
    credentials=lambda site: {"proxy": _password(site)},
    lock="traefik",
    deploy=traefik,
    units=lambda site: (UNIT,),
    lifts=(
        "# the proxy's group reads the routes that it writes",
        "UMask=0027",
        f"ReadWritePaths={DYNAMIC} {ROUTES}",
    ),
    absent=absent,
    checks=lambda site: (_check(site),),
)
