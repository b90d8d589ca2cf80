"""Nginx: Debian's, as the edge in front of the proxy, beside whatever sites it has.

Nothing of ours but the site, a snippet that the site includes, and what the snippet needs. The
package's files and other people's sites stay as they are.
"""

from __future__ import annotations

from pyinfra.api.deploy import deploy
from pyinfra.api.exceptions import PyinfraError
from pyinfra.context import host
from pyinfra.operations.server import shell

from hubstead import certificates, edges
from hubstead.distributions import WebServer
from hubstead.notes import ROLES, claim
from hubstead.operations import checks, files, packages, sites, units
from hubstead.operations.addresses import Resolvers
from hubstead.ports import refuse_taken_ports
from hubstead.render import render
from hubstead.settings.edge import EdgeSettings
from hubstead.site import Site

#: The site, and its link, the last of the enabled ones: where nobody names a default one, nginx
#: takes the first
SITE, LINK = "hubstead", "zz-hubstead"
TLS, SNIPPET, SHARED = (
    "snippets/hubstead-tls.conf",
    "snippets/hubstead.conf",
    "conf.d/hubstead.conf",
)
#: The package's page, as it is served
PAGE = "/var/www/html/index.nginx-debian.html"


def _drop_in(server: WebServer) -> str:
    """Not below /etc/systemd/system: a new drop-in there is a reason to restart, and other people's
    sites may be served.
    """
    return f"/usr/local/lib/systemd/system/{server.unit}.d/hubstead.conf"


def _site(site: Site) -> dict[str, files.Entry]:
    """The site; nothing of it where the owner's own includes the snippet."""
    settings, server = site[EdgeSettings], site.distribution.nginx
    ours, link = server.available(SITE), server.enabled(LINK)
    tls = f"{server.directory}/{TLS}"
    if not settings.edge_site:
        return {link: None, ours: None, tls: None}
    resolvers = host.get_fact(Resolvers) if settings.edge_ocsp else []
    if settings.edge_ocsp and not resolvers:
        raise PyinfraError(
            f"{host.name}: `edge_ocsp` needs a DNS server, and /etc/resolv.conf names none. Add "
            "one, or set `edge_ocsp` to False."
        )
    https = render(
        "nginx",
        tls,
        http2_directive=site.distribution.nginx_http2,
        resolvers=resolvers,
        **edges.values(site),
    )
    return {
        tls: files.File(https),
        ours: files.File(render("nginx", ours, **edges.values(site))),
        link: files.Link(ours),
    }


@deploy("nginx")
def nginx(site: Site) -> None:
    settings, server = site[EdgeSettings], site.distribution.nginx
    shared, snippet = f"{server.directory}/{SHARED}", f"{server.directory}/{SNIPPET}"
    drop_in = _drop_in(server)
    if settings.edge_site:
        refuse_taken_ports(site, "nginx")
    root = certificates.root_of(site, site.hub)

    claim(site, "nginx")
    packages.installed(name="Install Nginx", packages=server.packages, owner="nginx")
    if settings.edge_site:
        sites.default_disabled(name="Disable the package's own page", server=server)
    else:
        sites.default_restored(name="Leave the package's own page as it was", server=server)
    files.present(
        name="Write Nginx's site",
        entries={
            shared: files.File(render("nginx", shared, **edges.values(site))),
            snippet: files.File(
                render("nginx", snippet, name=site.proxy_address, **edges.values(site))
            ),
            **_site(site),
            drop_in.rsplit("/", 1)[0]: files.Directory(),
            drop_in: files.File(render("nginx", drop_in)),
            **edges.hook(site, server),
        },
    )
    sites.tested(name="Test Nginx's configuration", server=server)
    units.extended(name="Test it before each reload", unit=server.unit, drop_in=drop_in)
    # the directory counts as well: a link that went away leaves its mark there
    inputs = [shared, snippet, f"{server.directory}/{TLS}", server.available(SITE), root]
    inputs.append(f"{server.directory}/sites-enabled")
    if settings.edge_site:
        inputs.append(f"{certificates.public_directory(site)}/current")
    units.running(name="Run Nginx", unit=server.unit, reload_inputs=inputs, packaged=True)


@deploy("nginx")
def absent(site: Site) -> None:
    """Remove what is ours, and Nginx itself where it came for us alone."""
    server = site.distribution.nginx
    checks.passes(
        name="See that nobody else includes our snippet",
        part="Nginx",
        script=f"""
            ! grep -RlsE '^[^#]*snippets/hubstead.conf' --exclude={LINK} \\
                {server.directory}/nginx.conf {server.directory}/conf.d \\
                {server.directory}/sites-enabled""",
        mend="remove `include snippets/hubstead.conf` there, then run again",
        tries=1,
    )
    files.present(
        name="Remove the site",
        entries={
            server.enabled(LINK): None,
            server.available(SITE): None,
            **{f"{server.directory}/{file}": None for file in (TLS, SNIPPET, SHARED)},
            _drop_in(server).rsplit("/", 1)[0]: None,
            **certificates.no_hooks("nginx"),
        },
    )
    sites.default_restored(name="Enable the package's own page again", server=server)
    sites.left_to_others(name="Leave Nginx to the sites of others", server=server)
    shell(
        name="Take the package's page along, which Debian leaves behind",
        commands=[
            f"if [ -e {packages.NOTES}/nginx ] && cmp -s {PAGE} /usr/share/nginx/html/index.html;"
            f" then rm {PAGE} && cd /var && rmdir -p --ignore-fail-on-non-empty www/html; fi"
        ],
    )
    packages.purged(name="Remove Nginx", owner="nginx")
    shell(
        name="Let Nginx go on without the site, where it stays",
        commands=[
            "cd /usr/local/lib && rmdir -p --ignore-fail-on-non-empty systemd/system",
            "systemctl daemon-reload",
            f"! systemctl --quiet is-active {server.unit} ||"
            f" {{ {server.test} && systemctl reload {server.unit}; }}",
            # systemd remembers how a unit ended that is no more
            f"systemctl is-enabled {server.unit} >/dev/null 2>&1 ||"
            f" systemctl reset-failed {server.unit} 2>/dev/null || true",
        ],
    )
    files.present(name="Note down that Nginx is gone", entries={f"{ROLES}/nginx": None})
