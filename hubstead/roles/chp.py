"""configurable-http-proxy: routes users to their servers, and faces the internet without an edge.

A unit of its own: restarting the Hub leaves it alone, so running servers stay reachable. Restarting
it costs a reconnection: it keeps its routes in a file.
"""

from __future__ import annotations

import json

from pyinfra.api.deploy import deploy

from hubstead import hub, secrets
from hubstead.operations import accounts, files, releases, units
from hubstead.programs import program
from hubstead.render import render
from hubstead.roles import edge, tls
from hubstead.roles.base import ROLES, build_env, claim
from hubstead.roles.ports import refuse_taken_ports
from hubstead.roles.python import PythonSettings
from hubstead.settings import load

USER = "chp"
API_PORT = edge.API_PORTS["chp"]
API_URL = f"http://127.0.0.1:{API_PORT}"
UNIT = "configurable-http-proxy.service"
_FILE = f"/etc/systemd/system/{UNIT}"
_CONFIGURATION, _SCRIPTS = "/etc/hubstead/chp", "/usr/local/lib/hubstead/chp"
_HOOK = f"#!/bin/sh\n# Written by Hubstead.\nexec systemctl try-reload-or-restart {UNIT}\n"
_CIPHERS = (
    "TLS_AES_128_GCM_SHA256",
    "TLS_AES_256_GCM_SHA384",
    "TLS_CHACHA20_POLY1305_SHA256",
    *edge.CIPHERS,
)
_SECURITY_HEADERS = {
    "Strict-Transport-Security": "max-age=31536000",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "strict-origin-when-cross-origin",
}


def token() -> str:
    """What the Hub shows to the proxy's API."""
    return secrets.generated("chp_auth_token", secrets.TOKEN)


def for_the_hub() -> hub.Configuration:
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
def chp() -> None:
    settings = load(edge.EdgeSettings)
    is_front = settings.edge == "none"
    keys = ["edge_https_port", "edge_http_port"] if is_front else ["proxy_port"]
    ports = {key: getattr(settings, key) for key in keys}
    refuse_taken_ports("chp", ports)
    directory = tls.public_directory() if is_front else tls.INTERNAL
    configuration, token_file = f"{_CONFIGURATION}/config.json", f"{_CONFIGURATION}/token"
    scripts = {f"{_SCRIPTS}/{name}": program(f"chp/{name}") for name in ("proxy.js", "routes.js")}

    claim("chp")
    accounts.system_user(
        name="Create the user chp", user=USER, home="/var/lib/chp", groups=[tls.GROUP]
    )
    releases.npm(
        name="Build the release of configurable-http-proxy",
        component="chp",
        env=build_env(),
        keep=load(PythonSettings).python_keep_releases,
    )
    files.present(
        name="Write the proxy's configuration",
        entries={
            _CONFIGURATION: files.Directory(),
            configuration: files.File(
                json.dumps(
                    {
                        "port": ports[keys[0]],
                        "address": "127.0.0.1" if not is_front and edge.shares_host() else None,
                        "api_port": API_PORT,
                        "directory": directory,
                        "ciphers": _CIPHERS,
                        "edge": [network.split("/")[0] for network in edge.edge_networks()],
                        "headers": _SECURITY_HEADERS if is_front else {},
                        "http_port": ports.get("edge_http_port"),
                        "port_in_url": settings.port_in_url,
                        "challenges": tls.challenges(),
                    },
                    indent=2,
                )
                + "\n"
            ),
            token_file: files.secret(token()),
            "/usr/local/lib/hubstead": files.Directory(),
            _SCRIPTS: files.Directory(),
            **{script: files.File(text) for script, text in scripts.items()},
            _FILE: files.File(
                render(
                    "chp",
                    _FILE,
                    user=USER,
                    script=f"{_SCRIPTS}/proxy.js",
                    token=token_file,
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
            token_file,
            *scripts,
            "/opt/hubstead/chp/current",
            "/opt/hubstead/node/current",
        ],
        reload_inputs=[f"{directory}/current"],
    )


@deploy("chp")
def absent() -> None:
    """Remove it; the users' servers run on."""
    units.stopped(name="Stop configurable-http-proxy", unit=UNIT)
    accounts.absent(name="Remove the user chp", user=USER)
    files.present(
        name="Remove configurable-http-proxy",
        entries={
            _FILE: None,
            _CONFIGURATION: None,
            _SCRIPTS: None,
            "/var/lib/chp": None,
            "/opt/hubstead/chp": None,
            f"{tls.INTERNAL}/hooks/chp": None,
            f"{tls.PUBLIC}/hooks/chp": None,
            f"{ROLES}/chp": None,
        },
    )
