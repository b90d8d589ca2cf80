"""Sites of Debian's web servers: the one that comes with the package, and those of others."""

from __future__ import annotations

import re
from collections.abc import Generator, Iterable
from dataclasses import dataclass

from pyinfra.api import FactBase, QuoteString, StringCommand, operation
from pyinfra.context import host

from hubstead.distributions import WebServer
from hubstead.operations import checks
from hubstead.operations.packages import NOTES


@dataclass(frozen=True)
class DefaultSiteState:
    """The default site: whether nobody uses it, whether it is enabled, whether we disabled it."""

    pristine: bool = False
    enabled: bool = False
    disabled_by_us: bool = False


# Both packages serve /var/www/html by default, and put a page there.
_LOOK = """
package=$1 site=$2 link=$3 note=$4 root=/var/www/html
[ ! -L "$note" ] || echo disabled-by-us
[ -L "$link" ] || exit 0
echo enabled
[ "$(readlink -f "$link")" = "$site" ] || exit 0
shipped=$(dpkg-query -W -f '${Conffiles}\\n' "$package" | awk -v f="$site" '$1 == f { print $2 }')
[ "$(md5sum <"$site")" = "$shipped  -" ] || exit 0
for page in $(find "$root" -mindepth 1 -printf '%P\\n' 2>/dev/null | tr ' ' '?'); do
    case $page in
        index.nginx-debian.html) page_of=/usr/share/nginx/html/index.html ;;
        index.html) page_of=/usr/share/apache2/default-site/index.html ;;
        *) exit 0 ;;
    esac
    cmp -s "$root/$page" "$page_of" || exit 0
done
echo pristine
"""


class DefaultSite(FactBase[DefaultSiteState]):
    """The default site of a server. Rule: dpkg-query(1), Conffiles."""

    @staticmethod
    def default() -> DefaultSiteState:
        return DefaultSiteState()

    def command(self, server: WebServer) -> StringCommand:
        return StringCommand(
            "sh", "-c", QuoteString(_LOOK), "sh", server.shipper, server.default_site,
            server.default_link, _note(server), "2>/dev/null || true",
        )  # fmt: skip

    def process(self, output: Iterable[str]) -> DefaultSiteState:
        found = set(output)
        return DefaultSiteState("pristine" in found, "enabled" in found, "disabled-by-us" in found)


def _note(server: WebServer) -> str:
    """Where the link of the default site is kept while it is disabled."""
    return f"/var/lib/hubstead/default-site-{server.name}"


@operation()
def default_disabled(server: WebServer) -> Generator[StringCommand]:
    """Ensure that the default site is disabled, where nobody uses it.

    Used is one whose configuration was edited, or whose directory holds a page that is not the
    package's. One that we disabled and someone enabled again is left alone.
    """
    state = host.get_fact(DefaultSite, server)
    if state.pristine and not state.disabled_by_us:
        yield StringCommand("mv", "-T", server.default_link, _note(server))


@operation()
def default_restored(server: WebServer) -> Generator[StringCommand]:
    """Ensure that the default site is as it was before `default_disabled`."""
    state = host.get_fact(DefaultSite, server)
    if state.disabled_by_us and state.enabled:
        yield StringCommand("rm", _note(server))
    elif state.disabled_by_us:
        yield StringCommand("mv", "-T", _note(server), server.default_link)


# Debian's packages remove their whole directory when they are purged.
_FOREIGN = """
find "$1" -type f -o -type l | while read -r path; do
    dpkg-query -S "$(readlink -f "$path")" >/dev/null 2>&1 || echo "$path"
done
dpkg --verify "$2" | awk '{ print $NF }'
"""


def reload_hook(server: WebServer) -> str:
    """What runs when the certificate was renewed, in a sandbox without the sockets that a test of
    the configuration opens. The reload tests it: Apache's (apachectl(8), graceful), and Nginx's by
    our drop-in.
    """
    return f"""#!/bin/sh
# Written by Hubstead.
exec systemctl try-reload-or-restart {server.unit}
"""


class Foreign(FactBase[list[str]]):
    """Files below a server's directory that no package brought, or that someone edited."""

    @staticmethod
    def default() -> list[str]:
        return []

    def command(self, server: WebServer) -> StringCommand:
        return StringCommand(
            "sh", "-c", QuoteString(_FOREIGN), "sh", server.directory, server.shipper,
            "2>/dev/null || true",
        )  # fmt: skip

    def process(self, output: list[str]) -> list[str]:
        return output


@operation()
def left_to_others(server: WebServer) -> Generator[StringCommand]:
    """Ensure that a server with files of others below its directory is not purged.

    Its packages are no longer noted down as ours (`packages.purged`).
    """
    if host.get_fact(Foreign, server):
        yield StringCommand("rm", "-f", f"{NOTES}/{server.name}")


@operation()
def tested(server: WebServer) -> Generator[StringCommand]:
    """Ensure that a server finds no mistake in its configuration, before it is told to read it."""
    yield from checks.passes._inner(
        part=server.test,
        script=server.test,
        mend="the server was not touched and serves as before. Mend the file that it names, or the "
        "settings that it comes from, and run again.",
        tries=1,
    )


def parse_nginx_ports(lines: Iterable[str]) -> frozenset[int]:
    """The ports of `listen` in files of others than Hubstead, from what `nginx -T` prints.

    Ours are the files named *hubstead*. Rule: ngx_http_core_module, listen.
    """
    ports, ours = set(), False
    for line in lines:
        if line.startswith(_FILE):
            ours = "hubstead" in line.rpartition("/")[2]
        if not ours:
            for address in _LISTEN.findall(line.partition("#")[0]):
                port = address.rpartition(":")[2]
                # an address without a port is one on port 80
                ports.add(int(port) if port.isdigit() else 80)
    return frozenset(ports)


_FILE = "# configuration file "
_LISTEN = re.compile(r"(?:^|[\s;{])listen\s+(?!unix:)([^\s;]+)")


class NginxPorts(FactBase[frozenset[int]]):
    """The ports of Nginx's sites that are not Hubstead's; none where its configuration fails."""

    @staticmethod
    def default() -> frozenset[int]:
        return frozenset()

    def command(self) -> str:
        return "nginx -T 2>/dev/null || true"

    def process(self, output: list[str]) -> frozenset[int]:
        return parse_nginx_ports(output)
