"""PostgreSQL's cluster of the distribution's former release, which the host was upgraded from.

pg_upgradecluster(1) makes the new cluster from a dump of the old one, which lets nobody in
meanwhile: indexes are built anew, since the C library sorts otherwise than before. The new cluster
gets the port of the old one last. Until then the old one is what counts, and what there is of the
new one can be made again.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable
from dataclasses import dataclass

from pyinfra import logger
from pyinfra.api import FactBase, FactProcessError, QuoteString, StringCommand, operation
from pyinfra.context import ctx_state, host

from hubstead.operations.postgres import BEGIN, HOLDS, OURS

#: Where the dumps are; root's alone
DUMPS = "/var/backups/hubstead"
#: There while an upgrade is going on, or was cut
_NOTE = "/var/lib/hubstead/postgres-upgrade"
#: The transient unit of systemd that does it: it goes on when the run is cut
_UNIT = "hubstead-postgres-upgrade"

# $1: the version of the distribution's server, then those of its former releases. Roles are not in
# files of their own; a server that is down does not tell
_STATE = rf"""
new=$1
shift
{HOLDS}
[ ! -e {_NOTE} ] || echo begun
pg_lsclusters -h 2>/dev/null | while read -r version name port status owner data rest; do
    [ "$name" = main ] || continue
    if [ "$version" = "$new" ]; then
        if holds "$data" || runuser -u postgres -- psql --cluster "$new/main" -wAtXq -d postgres \
            -c 'SELECT 1 FROM pg_roles WHERE oid >= 16384' 2>/dev/null </dev/null | grep -q 1
        then
            echo filled
        fi
    fi
    for former; do
        [ "$version" = "$former" ] || continue
        grep -qsF -e '{BEGIN}' -e '{OURS}' "/etc/postgresql/$version/main/pg_hba.conf" || continue
        echo "former $version $port $status"
        echo "size $(du -sm "$data" | cut -f1)"
        echo "free $(df -m --output=avail "$data" | tail -n 1)"
    done
done
true
"""


@dataclass(frozen=True)
class OutdatedState:
    """The cluster of a former release that Hubstead used, and the one to come. Sizes are MiB.

    + version: 0 where there is no such cluster.
    + filled: whether the new cluster holds databases or roles.
    + begun: whether its upgrade was begun and not finished.
    """

    version: int = 0
    port: int = 0
    status: str = ""
    size: int = 0
    free: int = 0
    filled: bool = False
    begun: bool = False

    def pending(self, port: int) -> bool:
        """Whether the cluster has to be upgraded, or its upgrade finished, as it has this port."""
        return bool(self.version) and (self.begun or self.port == port)


def parse_outdated(lines: Iterable[str]) -> OutdatedState:
    """The state from the lines that the command of `Outdated` prints."""
    values = {kind: rest for kind, _, rest in (line.partition(" ") for line in lines)}
    version, port, status = values.get("former", "0 0 ").split(" ", 2)
    return OutdatedState(
        int(version),
        int(port),
        status,
        size=int(values.get("size", 0)),
        free=int(values.get("free", 0)),
        filled="filled" in values,
        begun="begun" in values,
    )


class Outdated(FactBase[OutdatedState]):
    """A cluster of a former release of the distribution, with our lines in its pg_hba.conf."""

    @staticmethod
    def default() -> OutdatedState:
        return OutdatedState()

    def command(self, version: int, former: list[int]) -> StringCommand:
        return StringCommand("sh -c", QuoteString(_STATE), "sh", str(version), *map(str, former))

    def process(self, output: list[str]) -> OutdatedState:
        try:
            return parse_outdated(output)
        except (ValueError, IndexError) as error:
            raise FactProcessError(f"unreadable description of clusters: {error}") from error


# $1 and $2: the versions; $3: the port
_UPGRADE = rf"""
set -eu
old=$1 new=$2 port=$3
{HOLDS}
port_of() {{
    pg_lsclusters -h | awk -v version="$1" '$1 == version && $2 == "main" {{ print $3 }}'
}}
discard() {{
    systemctl stop "postgresql@$new-main"
    rm -rf "/etc/postgresql/$new/main" "/var/lib/postgresql/$new/main"
    systemctl daemon-reload
}}
as_it_was() {{
    pg_conftool "$old" main set port "$port"
    echo auto >"/etc/postgresql/$old/main/start.conf"
    discard
    pg_lsclusters -h "$old" main | grep -q online || systemctl start "postgresql@$old-main"
}}
if [ "$(port_of "$new")" != "$port" ] || [ "$(port_of "$old")" = "$port" ]; then
    if [ ! -e {_NOTE} ] && holds "/var/lib/postgresql/$new/main"; then
        echo "the cluster $new/main holds databases" >&2
        exit 1
    fi
    touch {_NOTE}
    sync {_NOTE}
    as_it_was
    rm -rf "/usr/local/lib/systemd/system/postgresql@$old-main.service.d"
    (
        umask 077
        mkdir -p {DUMPS}
        rm -f {DUMPS}/*.new
        dump={DUMPS}/postgresql-$old-main-$(date +%Y-%m-%d-%H%M%S).sql
        runuser -u postgres -- pg_dumpall --cluster "$old/main" >"$dump.new"
        sync "$dump.new"
        mv "$dump.new" "$dump"
    )
    # it ends well where a statement fails, as for an extension that is not there
    log=$(mktemp)
    if ! pg_upgradecluster -m dump --keep-port --no-start -v "$new" "$old" main >"$log" 2>&1 ||
        grep -qi error: "$log"
    then
        grep -i -m 5 error: "$log" >&2 || cat "$log" >&2
        as_it_was
        rm -f "$log" {_NOTE}
        exit 1
    fi
    rm "$log"
    cp -an "/etc/postgresql/$old/main/conf.d/." "/etc/postgresql/$new/main/conf.d"
    pg_conftool "$old" main set port "$(port_of "$new")"
    pg_conftool "$new" main set port "$port"
fi
systemctl start "postgresql@$new-main"
rm -f {_NOTE}
"""
_RUN = rf"""
set -eu
while systemctl --quiet is-active {_UNIT}; do sleep 1; done
cat >/run/{_UNIT}
since=$(date +%s)
systemd-run --quiet --wait --collect --unit={_UNIT} sh /run/{_UNIT} "$@" || {{
    journalctl --no-pager -o cat -n 15 --since "@$since" -u {_UNIT} >&2
    exit 1
}}
"""


@operation()
def upgraded(former: int, version: int, port: int) -> Generator[StringCommand]:
    """Ensure that the data of the cluster "main" of a former version is in that of this one.

    A dump of it comes first, and it stays where it is, stopped. A cluster "main" of this version
    that was there before is removed: it is empty, as `Outdated` says.

    + port: the former one's, which the new one gets.
    """
    if ctx_state.get().is_executing:
        logger.warning(
            f"{host.name}: the PostgreSQL cluster {former}/main becomes {version}/main; a dump of "
            f"it is put into {DUMPS}. It stays, stopped: remove it when all is well "
            f"(pg_dropcluster {former} main)."
        )
    yield StringCommand(
        "sh -c", QuoteString(_RUN), "sh", str(former), str(version), str(port), _stdin=_UPGRADE
    )
