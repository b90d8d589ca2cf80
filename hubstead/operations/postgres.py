"""PostgreSQL: its cluster, who gets in, roles and databases.

pyinfra's `postgres.role` alters a password on every run.

A password is compared with the SCRAM-SHA-256 verifier that the server keeps (RFC 5803), so it is
set once; what travels to the host is a verifier, never the password.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import secrets
from collections.abc import Generator, Iterable
from dataclasses import dataclass, field

from pyinfra.api import (
    FactBase,
    FactProcessError,
    OperationValueError,
    QuoteString,
    StringCommand,
    operation,
)
from pyinfra.context import host

from hubstead.operations import files

_ITERATIONS = 4096
_NAME = re.compile(r"[a-z_][a-z0-9_]{0,62}")


@dataclass(frozen=True)
class RoleState:
    """A role; `fingerprint` tells its stored password. `elevated`: it may do more than log in."""

    login: bool
    elevated: bool
    fingerprint: str | None


@dataclass(frozen=True)
class DatabaseState:
    """A database; `connect` are the roles with an explicit right to connect, or PUBLIC."""

    owner: str
    connect: frozenset[str]


@dataclass(frozen=True)
class ClusterState:
    """Roles and databases by name."""

    roles: dict[str, RoleState] = field(default_factory=dict)
    databases: dict[str, DatabaseState] = field(default_factory=dict)


# What a fact reads is printed by `pyinfra -vvv`: of a verifier a digest, never its keys.
_QUERY = """
SELECT json_build_object(
  'roles', (SELECT json_object_agg(rolname, json_build_object(
      'login', rolcanlogin,
      'fingerprint', CASE WHEN rolpassword LIKE 'SCRAM-SHA-256$%' THEN
        split_part(rolpassword, '$', 1) || '$' || split_part(rolpassword, '$', 2) || '$'
        || encode(sha256(convert_to(rolpassword, 'UTF8')), 'hex') END,
      'elevated', rolsuper OR rolcreatedb OR rolcreaterole OR rolreplication OR rolbypassrls))
    FROM pg_authid WHERE rolname !~ '^pg_'),
  'databases', (SELECT json_object_agg(datname, json_build_object(
      'owner', pg_get_userbyid(datdba),
      'connect', ARRAY(
        SELECT CASE grantee WHEN 0 THEN 'PUBLIC' ELSE pg_get_userbyid(grantee) END
        FROM aclexplode(coalesce(datacl, acldefault('d', datdba)))
        WHERE privilege_type = 'CONNECT' AND grantee <> datdba)))
    FROM pg_database WHERE NOT datistemplate))
"""


def parse_cluster(text: str) -> ClusterState:
    """The state from the JSON document that the command of `Cluster` prints."""
    document = json.loads(text)
    return ClusterState(
        {name: RoleState(**role) for name, role in document["roles"].items()},
        {
            name: DatabaseState(database["owner"], frozenset(database["connect"]))
            for name, database in document["databases"].items()
        },
    )


class Cluster(FactBase[ClusterState]):
    """Roles and databases of the cluster on the default socket; empty where none answers."""

    @staticmethod
    def default() -> ClusterState:
        return ClusterState()

    def command(self) -> StringCommand:
        return StringCommand(
            "runuser -u postgres -- psql -AtXq -d postgres -c", QuoteString(_QUERY),
            "2>/dev/null | tr -d '\\n'; true",
        )  # fmt: skip

    def process(self, output: list[str]) -> ClusterState:
        try:
            return parse_cluster(output[0]) if output[0] else self.default()
        except (ValueError, KeyError, TypeError) as error:
            raise FactProcessError(f"unreadable description of the cluster: {error}") from error


def scram_verifier(password: str, salt: bytes, iterations: int = _ITERATIONS) -> str:
    """The string that PostgreSQL stores for a password (RFC 5802, section 3; RFC 5803).

    + password: ASCII, so that SASLprep (RFC 4013) leaves it as it is.
    """
    salted = hashlib.pbkdf2_hmac("sha256", password.encode("ascii"), salt, iterations)
    stored = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    server = hmac.digest(salted, b"Server Key", "sha256")
    encoded = (base64.b64encode(part).decode() for part in (salt, stored, server))
    salt_text, stored_text, server_text = encoded
    return f"SCRAM-SHA-256${iterations}:{salt_text}${stored_text}:{server_text}"


def fingerprint(verifier: str) -> str:
    """A verifier with a digest of it in the place of its keys, as `Cluster` reads it."""
    scheme, salt, _ = verifier.split("$")
    return "$".join([scheme, salt, hashlib.sha256(verifier.encode()).hexdigest()])


def verifies(password: str, stored: str | None) -> bool:
    """Whether a stored password, known by its fingerprint, is this one."""
    match = re.fullmatch(r"SCRAM-SHA-256\$(\d+):([A-Za-z0-9+/=]+)\$[0-9a-f]{64}", stored or "")
    if not match:
        return False
    again = scram_verifier(password, base64.b64decode(match[2]), int(match[1]))
    return hmac.compare_digest(fingerprint(again), stored or "")


def _identifier(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise OperationValueError(f"{name!r} is no plain PostgreSQL name")
    return f'"{name}"'


def _sql(*statements: str) -> StringCommand:
    """The statements, each in a transaction of its own, read from standard input.

    A log of statements, as an owner may have it, gets no verifiers.
    """
    return StringCommand(
        "runuser -u postgres -- env PGOPTIONS='-c log_statement=none"
        " -c log_min_duration_statement=-1' psql -Xq -d postgres -v ON_ERROR_STOP=1 -f -",
        _stdin="\n".join(f"{statement};" for statement in statements),
    )


#: $1 is the version. Ends where the cluster was made, or there is no server
_UNLESS_WHOLE = r"""
set -eu
conf=/etc/postgresql/$1/main data=/var/lib/postgresql/$1/main
command -v pg_createcluster >/dev/null || exit 0
[ ! -f "$conf/postgresql.conf" ] || [ ! -d "$conf/conf.d" ] || exit 0
"""

#: Whether the directory of a cluster's data has somebody's. What PostgreSQL makes for itself has
#: numbers below 16384 (FirstNormalObjectId)
HOLDS = r"""
holds() {
    find "$1/base" -printf '%f\n' 2>/dev/null |
        awk -F'[._]' '$1 ~ /^[0-9]+$/ && $1 >= 16384 { found = 1 } END { exit !found }' ||
        [ -n "$(ls "$1/pg_tblspc" 2>/dev/null)" ]
}
"""

_MAKE_ANEW = (
    HOLDS
    + r"""
if holds "$data"
then
    echo "$conf has no postgresql.conf, or no conf.d, but $data holds databases: put it back" >&2
    exit 1
fi
rm -rf "$conf" "$data"
if [ -r /etc/default/locale ]; then . /etc/default/locale; export LANG; fi
pg_createcluster -u postgres "$1" main
"""
)


class CutShort(FactBase[bool]):
    """Whether the cluster "main" of a version was never made to its end."""

    @staticmethod
    def default() -> bool:
        return False

    def command(self, version: int) -> StringCommand:
        script = _UNLESS_WHOLE + "echo cut short"
        return StringCommand("sh -c", QuoteString(script), "sh", str(version))

    def process(self, output: list[str]) -> bool:
        return bool(output)


@operation()
def whole(version: int) -> Generator[StringCommand]:
    """Ensure that the cluster "main" of an installed server was made to its end.

    Where the making was cut, the package takes what is there for a cluster (postinst of
    postgresql-VERSION, and pg_createcluster(1)). It is made anew, unless it holds databases.

    + version: PostgreSQL's major one.
    """
    if host.get_fact(CutShort, version):
        script = _UNLESS_WHOLE + _MAKE_ANEW
        yield StringCommand("sh -c", QuoteString(script), "sh", str(version))


#: Around our lines of pg_hba.conf; what is outside them is the owner's
BEGIN, END = "# BEGIN Hubstead (postgres_hba)", "# END Hubstead"
#: The first line of files that are ours from end to end; pg_hba.conf was, in earlier versions
OURS = "# Written by Hubstead (postgres"

# pg_file_settings: what files say beside ours, whether or not it counts
_FOUND = rf"""
pg_lsclusters -h 2>/dev/null | while read -r version name port status rest; do
    echo "cluster $version/$name $port $status"
done
[ ! -e "$1/postgresql.conf" ] || echo there
head -n 1 "$1/conf.d/hubstead.conf" 2>/dev/null | grep -qF '{OURS}' && echo ours
head -n 1 "$1/pg_hba.conf" 2>/dev/null | grep -qF '{OURS}' && echo whole
sed -n '/^{BEGIN}/,/^{END}/{{p;/^{END}/q}}' "$1/pg_hba.conf" 2>/dev/null |
    sed 's/^/line /'
runuser -u postgres -- psql -wAtXq -d postgres 2>/dev/null <<'END'
SELECT 'setting ' || name || ' ' || setting FROM pg_file_settings
    WHERE name IN ('listen_addresses', 'ssl_cert_file') AND sourcefile !~ '/hubstead[.]conf$'
    ORDER BY seqno;
SELECT 'answers';
END
true
"""


@dataclass(frozen=True)
class FoundState:
    """What there is of PostgreSQL on a host.

    + clusters: VERSION/NAME to port and status, as pg_lsclusters(1) has them: of a configuration
      that it cannot read, nothing.
    + there: whether the cluster has a configuration.
    + ours: whether its settings are ours.
    + whole: whether pg_hba.conf is ours from end to end.
    + access: our lines of pg_hba.conf, with the marks around them; "" where there are none.
    + answers: whether it lets root in as `postgres`.
    + settings: some of those that are in files of the owner's.
    """

    clusters: dict[str, tuple[int, str]] = field(default_factory=dict)
    there: bool = False
    ours: bool = False
    whole: bool = False
    access: str = ""
    answers: bool = False
    settings: dict[str, str] = field(default_factory=dict)


def parse_found(lines: Iterable[str]) -> FoundState:
    """The state from the lines that the command of `Found` prints."""
    clusters: dict[str, tuple[int, str]] = {}
    settings: dict[str, str] = {}
    access, words = "", set[str]()
    for line in lines:
        kind, _, rest = line.partition(" ")
        if kind == "cluster":
            name, port, status = rest.split(" ", 2)
            clusters[name] = int(port), status
        elif kind == "line":
            access += f"{rest}\n"
        elif kind == "setting":
            name, _, settings[name] = rest.partition(" ")
        else:
            words.add(kind)
    flags = {word: word in words for word in ("there", "ours", "whole", "answers")}
    return FoundState(clusters, access=access, settings=settings, **flags)


class Found(FactBase[FoundState]):
    """What there is of PostgreSQL, and of the cluster that has its configuration in a directory."""

    @staticmethod
    def default() -> FoundState:
        return FoundState()

    def command(self, configuration: str) -> StringCommand:
        return StringCommand("sh -c", QuoteString(_FOUND), "sh", QuoteString(configuration))

    def process(self, output: list[str]) -> FoundState:
        try:
            return parse_found(output)
        except ValueError as error:
            raise FactProcessError(f"unreadable description of PostgreSQL: {error}") from error


# The owner's lines may hold a secret (ldapbindpasswd): they do not leave the host.
_LET_IN = (
    files.PUT
    + r"""
import base64, re, sys
path, ours = sys.argv[1:]
block, default = map(base64.b64decode, sys.stdin.read().split())
marked = re.compile(rb"^# BEGIN Hubstead.*?^# END Hubstead[^\n]*\n?", re.M | re.S)
try:
    if os.path.exists(path):
        with open(path, "rb") as stream:
            before, mode = os.fstat(stream.fileno()), os.fstat(stream.fileno()).st_mode & 0o7777
            text = stream.read()
    else:
        before, mode, text = os.stat(os.path.dirname(path)), 0o640, default
    if text.startswith(ours.encode()):
        text = default
    elif marked.search(text):
        text = marked.sub(lambda _: block, text, count=1)
    if block not in text:
        text = block + text
    put(path, lambda: text, before.st_uid, before.st_gid, mode)
except OSError as error:
    sys.exit(f"{path}: {error}")
"""
)


@operation()
def let_in(configuration: str, lines: str, default: str) -> Generator[StringCommand]:
    """Ensure our lines in pg_hba.conf, between marks: where there are none, before all others.

    What else is in the file, its owner and its mode stay. Rule: PostgreSQL, "The pg_hba.conf File":
    the first line that matches counts.

    + configuration: the directory of the cluster's files.
    + default: the other lines of a file that an earlier version had written from end to end.
    """
    block = f"{BEGIN}\n{lines}{END}\n"
    state = host.get_fact(Found, configuration)
    if state.access != block or state.whole:
        encoded = (base64.b64encode(text.encode()).decode() for text in (block, default))
        yield StringCommand(
            "python3 -I -S -c", QuoteString(_LET_IN), QuoteString(f"{configuration}/pg_hba.conf"),
            QuoteString(OURS), _stdin=" ".join(encoded),
        )  # fmt: skip


@operation()
def login_role(role: str, password: str) -> Generator[StringCommand]:
    """Ensure a role that may log in with `password` and has no other attribute.

    + role: a plain lower-case name. Rule: PostgreSQL, "Role Attributes", CREATE ROLE.
    """
    name = _identifier(role)
    state = host.get_fact(Cluster).roles.get(role)
    attributes = "LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS"
    if state is None or not verifies(password, state.fingerprint):
        verb = "CREATE" if state is None else "ALTER"
        verifier = scram_verifier(password, secrets.token_bytes(16))
        yield _sql(f"{verb} ROLE {name} {attributes} PASSWORD '{verifier}'")
    elif not state.login or state.elevated:
        yield _sql(f"ALTER ROLE {name} {attributes}")


@operation()
def database(database: str, owner: str, connect: Iterable[str] = ()) -> Generator[StringCommand]:
    """Ensure a database in UTF-8 to which only its owner and `connect` may connect.

    + connect: further roles with the right to connect. Rule: PostgreSQL, "Privileges".
    """
    name, wanted = _identifier(database), frozenset(connect)
    state = host.get_fact(Cluster).databases.get(database)
    if state is None:
        yield _sql(
            f"CREATE DATABASE {name} OWNER {_identifier(owner)} TEMPLATE template0 ENCODING 'UTF8'"
        )
    elif state.owner != owner:
        yield _sql(f"ALTER DATABASE {name} OWNER TO {_identifier(owner)}")
    granted = state.connect if state else frozenset({"PUBLIC"})
    for role in sorted(granted - wanted):
        grantee = role if role == "PUBLIC" else _identifier(role)
        yield _sql(f"REVOKE ALL ON DATABASE {name} FROM {grantee}")
    for role in sorted(wanted - granted):
        yield _sql(f"GRANT CONNECT ON DATABASE {name} TO {_identifier(role)}")
