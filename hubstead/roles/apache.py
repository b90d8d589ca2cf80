"""Apache: Debian's, as the edge in front of the proxy, beside whatever sites it has.

Ours are the site, what the site includes, and files of our own that override the package's where
nobody edited those. Other people's sites stay as they are.
"""

from __future__ import annotations

from pyinfra.api.deploy import deploy
from pyinfra.operations import server

from hubstead.operations import apache as configuration
from hubstead.operations import checks, files, packages, sites, units
from hubstead.operations.apache import APACHE
from hubstead.render import render
from hubstead.roles import edge, tls
from hubstead.roles.base import ROLES, claim, refuse_taken_ports
from hubstead.roles.jupyterhub import HubSettings
from hubstead.settings import load
from hubstead.topology import tier_host

SITE = f"{APACHE}/sites-available/hubstead.conf"
#: The last of the enabled sites: Apache takes the first for names that none of them has
LINK = f"{APACHE}/sites-enabled/zz-hubstead.conf"
SNIPPET = f"{APACHE}/hubstead.conf"
#: Each before those that it needs
MODULES = (
    "alias", "env", "headers", "http2", "proxy_http", "proxy", "rewrite", "ssl", "socache_shmcb",
    "mime", "setenvif",
)  # fmt: skip
WORKERS, TOKENS = "zz-hubstead-workers.conf", "zz-hubstead-tokens.conf"
#: Runs when the certificate was renewed, in a sandbox without sockets, which a test of the
#: configuration opens; systemd's reload tests it as well (apachectl(8), graceful)
HOOK = """#!/bin/sh
# Written by Hubstead.
exec systemctl try-reload-or-restart apache2.service
"""
_FAULT = (
    "Apache was not touched and serves as before. Mend the file that it names, or the settings "
    "that it comes from, and run again."
)


def _site(settings: edge.EdgeSettings) -> dict[str, files.Entry]:
    """The site; nothing of it where the owner's own includes the snippet."""
    if not settings.edge_site:
        return {LINK: None, SITE: None}
    text = render(
        "apache",
        SITE,
        settings=settings,
        names=edge.names(),
        port=settings.port_in_url,
        base_url=load(HubSettings).hub_base_url,
        certificate=tls.public_directory(),
        ciphers=edge.CIPHERS,
        webroot=tls.WEBROOT,
    )
    return {
        tls.WEBROOT: files.Directory(),
        SITE: files.File(text),
        LINK: files.Link("../sites-available/hubstead.conf"),
    }


@deploy("apache")
def apache() -> None:
    settings = load(edge.EdgeSettings)
    ports = {key: getattr(settings, key) for key in ("edge_http_port", "edge_https_port")}
    if settings.edge_site:
        refuse_taken_ports("apache2", ports)
    # its proxy listens on IPv4 alone there
    proxy_host = "127.0.0.1" if edge.shares_host() else edge.proxy_address()
    root = tls.root_of(tier_host("hub"))

    claim("apache")
    packages.installed(name="Install Apache", packages=["apache2"], owner="apache")
    configuration.modules_enabled(name="Enable its modules", modules=MODULES)
    if settings.edge_site:
        sites.default_disabled(name="Disable the package's own page", server=sites.APACHE)
        configuration.listening(name="Listen on the service's ports", ports=list(ports.values()))
    else:
        sites.default_restored(name="Leave the package's own page as it was", server=sites.APACHE)
        configuration.ports_restored(name="Leave its ports as they were")
    configuration.overridden(
        name="Make room for many notebooks",
        conffile=f"{APACHE}/mods-available/mpm_event.conf",
        file=WORKERS,
        text=render("apache", f"{APACHE}/conf-available/{WORKERS}"),
    )
    configuration.overridden(
        name="Keep its version to itself",
        conffile=f"{APACHE}/conf-available/security.conf",
        file=TOKENS,
        text=render("apache", f"{APACHE}/conf-available/{TOKENS}"),
    )
    files.present(
        name="Write Apache's site",
        entries={
            SNIPPET: files.File(
                render(
                    "apache",
                    SNIPPET,
                    limit=settings.edge_upload_limit * 2**20,
                    base_url=load(HubSettings).hub_base_url,
                    proxy=f"{proxy_host}:{settings.proxy_port}",
                    root=root,
                )
            ),
            **_site(settings),
            f"{tls.public_directory()}/hooks/apache": (
                files.File(HOOK, mode="755") if settings.edge_site else None
            ),
        },
    )
    checks.passes(
        name="Test Apache's configuration",
        part="apachectl configtest",
        script="apachectl configtest",
        mend=_FAULT,
        tries=1,
    )
    # the directories count as well: a link that went away leaves its mark there
    inputs = [SNIPPET, SITE, root, configuration.PORTS]
    inputs += [f"{APACHE}/{kind}-enabled" for kind in ("sites", "conf", "mods")]
    inputs += [f"{APACHE}/conf-available/{name}" for name in (TOKENS, configuration.LISTEN)]
    if settings.edge_site:
        inputs.append(f"{tls.public_directory()}/current")
    units.running(
        name="Run Apache",
        unit="apache2.service",
        # a reload does not change the size of the scoreboard (mpm_common, ServerLimit)
        inputs=[f"{APACHE}/conf-available/{WORKERS}"],
        reload_inputs=inputs,
    )


@deploy("apache")
def absent() -> None:
    """Remove what is ours, and Apache itself where it came for us alone."""
    checks.passes(
        name="See that nobody else includes our snippet",
        part="Apache",
        script=f"""
            ! grep -RlsE '^[^#]*Include[^#]*[[:space:]/"]hubstead.conf' \\
                --exclude={LINK.rsplit("/", 1)[-1]} {APACHE}/apache2.conf {APACHE}/*-enabled""",
        mend="remove `Include hubstead.conf` there, then run again",
        tries=1,
    )
    files.present(
        name="Remove the site",
        entries={
            LINK: None,
            SITE: None,
            SNIPPET: None,
            **configuration.enabled(WORKERS, None),
            **configuration.enabled(TOKENS, None),
            tls.WEBROOT: None,
            f"{tls.INTERNAL}/hooks/apache": None,
            f"{tls.PUBLIC}/hooks/apache": None,
        },
    )
    sites.default_restored(name="Enable the package's own page again", server=sites.APACHE)
    configuration.ports_restored(name="Leave its ports as they were")
    configuration.modules_restored(name="Disable the modules that came for us", modules=MODULES)
    sites.left_to_others(name="Leave Apache to the sites of others", server=sites.APACHE)
    packages.purged(name="Remove Apache", owner="apache")
    server.shell(
        name="Let Apache go on without the site, where it stays",
        commands=[
            "! systemctl --quiet is-active apache2.service ||"
            " { apachectl configtest && systemctl reload apache2.service; }",
            # Debian leaves it behind
            "rmdir --ignore-fail-on-non-empty /var/lib/apache2 2>/dev/null || true",
        ],
    )
    files.present(
        name="Note down that Apache is gone",
        entries={configuration.NOTES: None, f"{ROLES}/apache": None},
    )
