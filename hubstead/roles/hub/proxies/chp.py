"""configurable-http-proxy: routes users to their servers, and faces the internet without an edge.

A unit of its own: restarting the Hub leaves it alone, so running servers stay reachable. Restarting
it costs a reconnection: it keeps its routes in a file.
"""

from __future__ import annotations

import json

from pyinfra.api.deploy import deploy

from hubstead import certificates, hub, pages, secrets
from hubstead.listeners import LOOPBACK
from hubstead.notes import ROLES, claim
from hubstead.operations import accounts, checks, files, releases, units
from hubstead.parts import Proxy
from hubstead.ports import held, hold_ports, refuse_another, refuse_taken_ports, release_ports
from hubstead.programs import program
from hubstead.releases import build_env
from hubstead.render import render
from hubstead.settings.edge import EdgeSettings
from hubstead.settings.python import PythonSettings
from hubstead.site import Site

USER = "chp"
#: On loopback; one that root alone can take, and that nobody has (IANA)
API_PORT = 12
API_URL = f"http://127.0.0.1:{API_PORT}"
UNIT = "configurable-http-proxy.service"
_FILE = f"/etc/systemd/system/{UNIT}"
_CONFIGURATION, _SCRIPTS = "/etc/hubstead/chp", "/usr/local/lib/hubstead/chp"
_TOKEN = f"{_CONFIGURATION}/token"
_HOOK = f"#!/bin/sh\n# Written by Hubstead.\nexec systemctl try-reload-or-restart {UNIT}\n"
_CIPHERS = (
    "TLS_AES_128_GCM_SHA256",
    "TLS_AES_256_GCM_SHA384",
    "TLS_CHACHA20_POLY1305_SHA256",
    *certificates.CIPHERS,
)
_SECURITY_HEADERS = {
    "Strict-Transport-Security": "max-age=31536000",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "strict-origin-when-cross-origin",
}


def _token(site: Site) -> str:
    """What the Hub shows to the proxy's API."""
    return site.secrets.generated("chp_auth_token", secrets.TOKEN)


def _configuration(site: Site) -> hub.Configuration:
    """How the Hub tells the proxy its routes: by its API. The proxy keeps them."""
    return hub.Configuration(
        traits={
            "JupyterHub": {"proxy_class": "configurable-http-proxy"},
            "ConfigurableHTTPProxy": {
                # a unit of its own
                "should_start": False,
                "api_url": API_URL,
                "auth_token": hub.credential("proxy"),
            },
        }
    )


@deploy("chp")
def chp(site: Site) -> None:
    refuse_another(site, "chp", "configurable-http-proxy.service")
    for role in ("chp", "pages"):
        refuse_taken_ports(site, role)
    settings, is_front = site[EdgeSettings], not site.has_edge
    directory = certificates.public_directory(site) if is_front else certificates.INTERNAL
    configuration = f"{_CONFIGURATION}/config.json"
    scripts = {f"{_SCRIPTS}/{name}": program(f"chp/{name}") for name in ("proxy.js", "routes.js")}

    claim(site, "chp")
    pages.served(site)
    accounts.system_user(
        name="Create the user chp", user=USER, home="/var/lib/chp", groups=[certificates.GROUP]
    )
    releases.npm(
        name="Build the release of configurable-http-proxy",
        component="chp",
        env=build_env(site),
        keep=site[PythonSettings].python_keep_releases,
    )
    files.present(
        name="Write the proxy's configuration",
        entries={
            _CONFIGURATION: files.Directory(),
            configuration: files.File(
                json.dumps(
                    {
                        "port": settings.edge_https_port if is_front else settings.proxy_port,
                        "address": None if is_front or site.edge_apart else LOOPBACK,
                        "shared": [each.port for each in held(site, "chp")],
                        "api_port": API_PORT,
                        "directory": directory,
                        "ciphers": _CIPHERS,
                        "edge": [network.split("/")[0] for network in site.edge_networks],
                        "headers": _SECURITY_HEADERS if is_front else {},
                        "http_port": settings.edge_http_port if is_front else None,
                        "port_in_url": settings.port_in_url,
                        "challenges": certificates.challenges(site),
                        "pages": pages.URL,
                        "host_routing": site.servers_name is not None,
                    },
                    indent=2,
                )
                + "\n"
            ),
            _TOKEN: files.secret(_token(site)),
            "/usr/local/lib/hubstead": files.Directory(),
            _SCRIPTS: files.Directory(),
            **{script: files.File(text) for script, text in scripts.items()},
            _FILE: files.File(
                render(
                    "chp",
                    _FILE,
                    user=USER,
                    script=f"{_SCRIPTS}/proxy.js",
                    token=_TOKEN,
                    api=f"{API_URL}/api/routes",
                )
            ),
            f"{directory}/hooks/chp": files.File(_HOOK, mode="755"),
        },
    )
    units.running(
        name="Run configurable-http-proxy",
        unit=UNIT,
        inputs=[
            configuration,
            _TOKEN,
            *scripts,
            "/opt/hubstead/chp/current",
            "/opt/hubstead/node/current",
        ],
        reload_inputs=[f"{directory}/current"],
    )
    hold_ports(site, "chp", USER)


@deploy("chp")
def absent(site: Site) -> None:
    """Remove it; the users' servers run on."""
    units.stopped(name="Stop configurable-http-proxy", unit=UNIT)
    release_ports("chp")
    pages.absent()
    accounts.absent(name="Remove the user chp", user=USER)
    files.present(
        name="Remove configurable-http-proxy",
        entries={
            _FILE: None,
            _CONFIGURATION: None,
            _SCRIPTS: None,
            "/var/lib/chp": None,
            "/opt/hubstead/chp": None,
            **certificates.no_hooks("chp"),
            f"{ROLES}/chp": None,
        },
    )


def _check(site: Site) -> checks.Check:
    return checks.Check(
        name="Try the proxy's API without its password",
        part="The proxy's API",
        script=checks.answers(f"{API_URL}/api/routes", 403),
        mend=_TOKEN,
        of="proxy",
        units=(UNIT,),
    )


PART = Proxy(
    unit=UNIT,
    user=USER,
    api_port=API_PORT,
    configuration=_configuration,
    credentials=lambda site: {"proxy": _token(site)},
    deploy=chp,
    units=lambda site: (UNIT,),
    absent=absent,
    checks=lambda site: (_check(site),),
)
