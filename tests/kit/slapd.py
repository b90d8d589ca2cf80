"""A directory beside the tests: OpenLDAP's slapd on loopback, with people and groups."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path
from urllib.parse import quote

BASE = "dc=example,dc=org"
PEOPLE, GROUPS = f"ou=people,{BASE}", f"ou=groups,{BASE}"
READER, READER_PASSWORD = f"cn=reader,{BASE}", "the reader's own word"
PASSWORD = "correct horse"
_ADMIN, _ADMIN_PASSWORD = f"cn=admin,{BASE}", "the admin's own word"

# Simple binds in clear text are refused: whoever tries one fails every test. An empty password is
# anonymous, and success, as with many a directory.
_CONFIGURATION = """
include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/nis.schema
include /etc/ldap/schema/inetorgperson.schema
modulepath /usr/lib/ldap
moduleload back_mdb
moduleload memberof
pidfile {directory}/pid
allow bind_anon_cred
security simple_bind=64
TLSCACertificateFile {certificate}
TLSCertificateFile {certificate}
TLSCertificateKeyFile {key}
database mdb
directory {directory}/data
suffix "{base}"
rootdn "{admin}"
rootpw "{admin_password}"
overlay memberof
memberof-group-oc groupOfNames
access to attrs=userPassword by anonymous auth
access to dn.subtree="ou=open,{base}" by * read
access to * by dn.base="{reader}" read by anonymous auth
"""

ENTRIES = f"""
dn: {BASE}
objectClass: dcObject
objectClass: organization
o: example

dn: {PEOPLE}
objectClass: organizationalUnit

dn: {GROUPS}
objectClass: organizationalUnit

dn: ou=open,{BASE}
objectClass: organizationalUnit

dn: {READER}
objectClass: organizationalRole
objectClass: simpleSecurityObject
userPassword: {READER_PASSWORD}
"""


def person(name: str, below: str = PEOPLE, *lines: str, password: str = PASSWORD) -> str:
    """An entry, as LDIF."""
    return "\n".join(
        (
            f"dn: uid={name},{below}",
            "objectClass: inetOrgPerson",
            f"cn: {name}",
            f"sn: {name}",
            f"userPassword: {password}",
            *lines,
        )
    )


def group(name: str, *members: str, below: str = GROUPS) -> str:
    """A group of people by their names, as LDIF."""
    lines = [f"member: uid={member},{PEOPLE}" for member in members or ("none",)]
    return "\n".join((f"dn: cn={name},{below}", "objectClass: groupOfNames", *lines))


def configuration(directory: Path, certificate: Path, key: Path) -> str:
    """A slapd.conf(5) with its data in `directory`/data."""
    return _CONFIGURATION.format(
        directory=directory, certificate=certificate, key=key, base=BASE, reader=READER,
        admin=_ADMIN, admin_password=_ADMIN_PASSWORD,
    )  # fmt: skip


def change(socket: str) -> list[str]:
    """The command that makes changes (ldif(5)), entries that are new among them."""
    return ["ldapmodify", "-a", "-M", "-x", "-H", socket, "-D", _ADMIN, "-w", _ADMIN_PASSWORD]


class Slapd:
    """A slapd with a certificate for `localhost`, as a process of its own."""

    def __init__(self, directory: Path, ports: tuple[int, int], pair: tuple[Path, Path]) -> None:
        self.url, self.ldaps = (
            f"ldap://localhost:{ports[0]}",
            f"ldaps://localhost:{ports[1]}",
        )
        self._socket = f"ldapi://{quote(str(directory / 'socket'), safe='')}"
        self._file = directory / "slapd.conf"
        (directory / "data").mkdir()
        self._file.write_text(configuration(directory, *pair))
        self.start()
        self.add(ENTRIES)

    def start(self) -> None:
        listen = f"{self.url}/ {self.ldaps}/ {self._socket}"
        command = ["/usr/sbin/slapd", "-d", "0", "-f", self._file, "-h", listen]
        self._process = subprocess.Popen(command)
        deadline = time.monotonic() + 20
        while self._change("").returncode:
            assert self._process.poll() is None and time.monotonic() < deadline
            time.sleep(0.1)

    @property
    def pid(self) -> int:
        return self._process.pid

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(20)

    def add(self, *entries: str) -> None:
        self.change("\n\n".join(entries))

    def modify(self, dn: str, *lines: str) -> None:
        """Lines of a change, as ldapmodify(1) has them."""
        self.change("\n".join((f"dn: {dn}", "changetype: modify", *lines)))

    def delete(self, dn: str) -> None:
        self.change(f"dn: {dn}\nchangetype: delete")

    def change(self, ldif: str) -> None:
        done = self._change(ldif)
        assert done.returncode == 0, done.stderr

    def _change(self, ldif: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            change(self._socket),
            input=ldif, capture_output=True, text=True, timeout=20, check=False,
        )  # fmt: skip
