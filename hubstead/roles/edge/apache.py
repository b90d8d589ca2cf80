"""Apache: Debian's, as the edge in front of the proxy, beside whatever sites it has.

Ours are the site, what the site includes, and files of our own that override the package's where
nobody edited those. Other people's sites stay as they are.
"""

from __future__ import annotations

from pyinfra.api.deploy import deploy
from pyinfra.operations.server import shell

from hubstead import certificates, edges
from hubstead.notes import ROLES, claim
from hubstead.operations import apache as configuration
from hubstead.operations import checks, files, packages, sites, units
from hubstead.ports import refuse_taken_ports
from hubstead.render import render
from hubstead.settings.edge import EdgeSettings
from hubstead.site import Site

#: The site, and its link, the last of the enabled ones: Apache takes the first for names that no
#: site has
SITE, LINK = "hubstead.conf", "zz-hubstead.conf"
SNIPPET = "hubstead.conf"
#: Each before those that it needs
MODULES = (
    "alias", "env", "headers", "http2", "proxy_http", "proxy", "rewrite", "ssl", "socache_shmcb",
    "mime", "setenvif",
)  # fmt: skip
WORKERS, TOKENS = "zz-hubstead-workers.conf", "zz-hubstead-tokens.conf"


def _site(site: Site) -> dict[str, files.Entry]:
    """The site; nothing of it where the owner's own includes the snippet."""
    settings, server = site[EdgeSettings], site.distribution.apache
    ours, link = server.available(SITE), server.enabled(LINK)
    if not settings.edge_site:
        return {link: None, ours: None}
    return {
        ours: files.File(render("apache", ours, **edges.values(site))),
        link: files.Link(f"../sites-available/{SITE}"),
    }


@deploy("apache")
def apache(site: Site) -> None:
    settings, server = site[EdgeSettings], site.distribution.apache
    snippet, available = f"{server.directory}/{SNIPPET}", f"{server.directory}/conf-available"
    if settings.edge_site:
        refuse_taken_ports(site, "apache")
    root, limit = certificates.root_of(site, site.hub), settings.edge_upload_limit * 2**20

    claim(site, "apache")
    packages.installed(name="Install Apache", packages=server.packages, owner="apache")
    configuration.modules_enabled(name="Enable its modules", modules=MODULES)
    if settings.edge_site:
        sites.default_disabled(name="Disable the package's own page", server=server)
        configuration.listening(
            name="Listen on the service's ports",
            ports=[settings.edge_http_port, settings.edge_https_port],
        )
    else:
        sites.default_restored(name="Leave the package's own page as it was", server=server)
        configuration.ports_restored(name="Leave its ports as they were")
    configuration.overridden(
        name="Make room for many notebooks",
        conffile=f"{server.directory}/mods-available/mpm_event.conf",
        file=WORKERS,
        text=render("apache", f"{available}/{WORKERS}"),
    )
    configuration.overridden(
        name="Keep its version to itself",
        conffile=f"{available}/security.conf",
        file=TOKENS,
        text=render("apache", f"{available}/{TOKENS}"),
    )
    files.present(
        name="Write Apache's site",
        entries={
            snippet: files.File(render("apache", snippet, limit=limit, **edges.values(site))),
            **_site(site),
            **edges.hook(site, server),
        },
    )
    sites.tested(name="Test Apache's configuration", server=server)
    # the directories count as well: a link that went away leaves its mark there
    inputs = [snippet, server.available(SITE), root, configuration.PORTS]
    inputs += [f"{server.directory}/{kind}-enabled" for kind in ("sites", "conf", "mods")]
    inputs += [f"{available}/{name}" for name in (TOKENS, configuration.LISTEN)]
    if settings.edge_site:
        inputs.append(f"{certificates.public_directory(site)}/current")
    units.running(
        name="Run Apache",
        unit=server.unit,
        packaged=True,
        # a reload does not change the size of the scoreboard (mpm_common, ServerLimit)
        inputs=[f"{available}/{WORKERS}"],
        reload_inputs=inputs,
    )


@deploy("apache")
def absent(site: Site) -> None:
    """Remove what is ours, and Apache itself where it came for us alone."""
    server = site.distribution.apache
    checks.passes(
        name="See that nobody else includes our snippet",
        part="Apache",
        script=f"""
            ! grep -RlsE '^[^#]*Include[^#]*[[:space:]/"]hubstead.conf' \\
                --exclude={LINK} {server.directory}/apache2.conf {server.directory}/*-enabled""",
        mend="remove `Include hubstead.conf` there, then run again",
        tries=1,
    )
    files.present(
        name="Remove the site",
        entries={
            server.enabled(LINK): None,
            server.available(SITE): None,
            f"{server.directory}/{SNIPPET}": None,
            **configuration.enabled(WORKERS, None),
            **configuration.enabled(TOKENS, None),
            **certificates.no_hooks("apache"),
        },
    )
    sites.default_restored(name="Enable the package's own page again", server=server)
    configuration.ports_restored(name="Leave its ports as they were")
    configuration.modules_restored(name="Disable the modules that came for us", modules=MODULES)
    sites.left_to_others(name="Leave Apache to the sites of others", server=server)
    packages.purged(name="Remove Apache", owner="apache")
    shell(
        name="Let Apache go on without the site, where it stays",
        commands=[
            f"! systemctl --quiet is-active {server.unit} ||"
            f" {{ {server.test} && systemctl reload {server.unit}; }}",
            # Debian leaves it behind
            "rmdir --ignore-fail-on-non-empty /var/lib/apache2 2>/dev/null || true",
        ],
    )
    files.present(
        name="Note down that Apache is gone",
        entries={configuration.NOTES: None, f"{ROLES}/apache": None},
    )
