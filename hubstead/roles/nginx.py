"""Nginx: Debian's, as the edge in front of the proxy, beside whatever sites it has.

Nothing of ours but the site, a snippet that the site includes, and what the snippet needs. The
package's files and other people's sites stay as they are.
"""

from __future__ import annotations

from pyinfra.api.deploy import deploy
from pyinfra.api.exceptions import PyinfraError
from pyinfra.context import host
from pyinfra.operations import server

from hubstead.operations import checks, files, packages, sites, units
from hubstead.operations.addresses import Resolvers
from hubstead.render import render
from hubstead.roles import edge, tls
from hubstead.roles.base import ROLES, claim, machine, refuse_taken_ports
from hubstead.roles.jupyterhub import HubSettings
from hubstead.settings import load
from hubstead.topology import tier_host

NGINX = "/etc/nginx"
SITE = f"{NGINX}/sites-available/hubstead"
#: The last of the enabled sites: where nobody names a default one, nginx takes the first
LINK = f"{NGINX}/sites-enabled/zz-hubstead"
TLS = f"{NGINX}/snippets/hubstead-tls.conf"
SNIPPET = f"{NGINX}/snippets/hubstead.conf"
SHARED = f"{NGINX}/conf.d/hubstead.conf"
#: Not below /etc/systemd/system: a new drop-in there is a reason to restart, and other people's
#: sites may be served
DROP_IN = "/usr/local/lib/systemd/system/nginx.service.d/hubstead.conf"
#: The package's page, as it is served
PAGE = "/var/www/html/index.nginx-debian.html"
#: Runs when the certificate was renewed, in a sandbox without the sockets that a test of the
#: configuration opens; the reload tests it, by our drop-in
HOOK = """#!/bin/sh
# Written by Hubstead.
exec systemctl try-reload-or-restart nginx.service
"""
_FAULT = (
    "nginx was not touched and serves as before. Mend the file that it names, or the settings that "
    "it comes from, and run again."
)


def _site(settings: edge.EdgeSettings) -> dict[str, files.Entry]:
    """The site; nothing of it where the owner's own includes the snippet."""
    if not settings.edge_site:
        return {LINK: None, SITE: None, TLS: None}
    resolvers = host.get_fact(Resolvers) if settings.edge_ocsp else []
    if settings.edge_ocsp and not resolvers:
        raise PyinfraError(
            f"{host.name}: `edge_ocsp` needs a DNS server, and /etc/resolv.conf names none. Add "
            "one, or set `edge_ocsp` to False."
        )
    site = render(
        "nginx",
        SITE,
        settings=settings,
        names=edge.names(),
        port=settings.port_in_url,
        base_url=load(HubSettings).hub_base_url,
        webroot=tls.WEBROOT,
    )
    https = render(
        "nginx",
        TLS,
        settings=settings,
        # `listen … http2` until nginx 1.25, and Debian 12 has 1.22
        http2_directive=machine().version != "12",
        certificate=tls.public_directory(),
        ciphers=edge.CIPHERS,
        resolvers=resolvers,
    )
    return {
        tls.WEBROOT: files.Directory(),
        TLS: files.File(https),
        SITE: files.File(site),
        LINK: files.Link(SITE),
    }


@deploy("nginx")
def nginx() -> None:
    settings = load(edge.EdgeSettings)
    if settings.edge_site:
        ports = ("edge_http_port", "edge_https_port")
        refuse_taken_ports("nginx", {key: getattr(settings, key) for key in ports})
    # its proxy listens on IPv4 alone there
    proxy_host = "127.0.0.1" if edge.shares_host() else edge.proxy_address()
    root = tls.root_of(tier_host("hub"))
    hook = f"{tls.public_directory()}/hooks/nginx"

    claim("nginx")
    packages.installed(name="Install Nginx", packages=["nginx"], owner="nginx")
    if settings.edge_site:
        sites.default_disabled(name="Disable the package's own page", server=sites.NGINX)
    else:
        sites.default_restored(name="Leave the package's own page as it was", server=sites.NGINX)
    files.present(
        name="Write Nginx's site",
        entries={
            SHARED: files.File(
                render("nginx", SHARED, proxy=f"{proxy_host}:{settings.proxy_port}")
            ),
            SNIPPET: files.File(
                render(
                    "nginx",
                    SNIPPET,
                    settings=settings,
                    base_url=load(HubSettings).hub_base_url,
                    name=edge.proxy_address(),
                    root=root,
                )
            ),
            **_site(settings),
            DROP_IN.rsplit("/", 1)[0]: files.Directory(),
            DROP_IN: files.File(render("nginx", DROP_IN)),
            hook: files.File(HOOK, mode="755") if settings.edge_site else None,
        },
    )
    checks.passes(
        name="Test Nginx's configuration",
        part="nginx -t",
        script="nginx -t -q",
        mend=_FAULT,
        tries=1,
    )
    units.extended(name="Test it before each reload", unit="nginx.service", drop_in=DROP_IN)
    # the directory counts as well: a link that went away leaves its mark there
    inputs = [SHARED, SNIPPET, TLS, SITE, f"{NGINX}/sites-enabled", root]
    if settings.edge_site:
        inputs.append(f"{tls.public_directory()}/current")
    units.running(name="Run Nginx", unit="nginx.service", reload_inputs=inputs)


@deploy("nginx")
def absent() -> None:
    """Remove what is ours, and Nginx itself where it came for us alone."""
    checks.passes(
        name="See that nobody else includes our snippet",
        part="Nginx",
        script=f"""
            ! grep -RlsE '^[^#]*snippets/hubstead.conf' --exclude={LINK.rsplit("/", 1)[-1]} \\
                {NGINX}/nginx.conf {NGINX}/conf.d {NGINX}/sites-enabled""",
        mend="remove `include snippets/hubstead.conf` there, then run again",
        tries=1,
    )
    files.present(
        name="Remove the site",
        entries={
            LINK: None,
            SITE: None,
            TLS: None,
            SNIPPET: None,
            SHARED: None,
            DROP_IN.rsplit("/", 1)[0]: None,
            tls.WEBROOT: None,
            f"{tls.INTERNAL}/hooks/nginx": None,
            f"{tls.PUBLIC}/hooks/nginx": None,
        },
    )
    sites.default_restored(name="Enable the package's own page again", server=sites.NGINX)
    sites.left_to_others(name="Leave Nginx to the sites of others", server=sites.NGINX)
    server.shell(
        name="Take the package's page along, which Debian leaves behind",
        commands=[
            f"if [ -e {packages.NOTES}/nginx ] && cmp -s {PAGE} /usr/share/nginx/html/index.html;"
            f" then rm {PAGE} && cd /var && rmdir -p --ignore-fail-on-non-empty www/html; fi"
        ],
    )
    packages.purged(name="Remove Nginx", owner="nginx")
    server.shell(
        name="Let Nginx go on without the site, where it stays",
        commands=[
            "cd /usr/local/lib && rmdir -p --ignore-fail-on-non-empty systemd/system",
            "systemctl daemon-reload",
            "! systemctl --quiet is-active nginx.service ||"
            " { nginx -t -q && systemctl reload nginx.service; }",
            # systemd remembers how a unit ended that is no more
            "systemctl is-enabled nginx.service >/dev/null 2>&1 ||"
            " systemctl reset-failed nginx.service 2>/dev/null || true",
        ],
    )
    files.present(name="Note down that Nginx is gone", entries={f"{ROLES}/nginx": None})
