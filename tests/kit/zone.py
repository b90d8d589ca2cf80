"""A DNS zone on the host that plays the ACME server: Debian's BIND, which takes updates (RFC 2136).

The ACME server asks it, and it alone, as long as it runs; nobody else does.
"""

from __future__ import annotations

import base64
import secrets

from lab import Lab

KEY = "hubstead-test"
_UNIT = "/etc/systemd/system/lab-acme.service.d/zone.conf"
_INSTALL = """
DEBIAN_FRONTEND=noninteractive apt-get -qq update
DEBIAN_FRONTEND=noninteractive apt-get -qq install --no-install-recommends bind9 >/dev/null
install -d -o bind /var/lib/bind
"""
_SERVE = """
systemctl restart named
mkdir -p $(dirname {unit})
cat >{unit} <<'END'
[Service]
ExecStart=
ExecStart=/usr/bin/pebble -strict -config /etc/lab-acme/pebble.json -dnsserver 127.0.0.1:53
END
systemctl daemon-reload
systemctl restart lab-acme
"""


class Zone:
    """A zone without addresses: whoever asks for a name in it over HTTP finds none."""

    def __init__(self, lab: Lab, host: str, name: str) -> None:
        self._lab, self._host, self.name = lab, host, name
        self.address = lab.host(host).address
        self.secret = base64.b64encode(secrets.token_bytes(32)).decode()

    def start(self) -> None:
        """Serve it, to whoever asks and to the ACME server."""
        self._run(_INSTALL)
        self._write("/etc/bind/test.key", self._key())
        self._write(f"/var/lib/bind/{self.name}", self._records())
        self._write("/etc/bind/named.conf", self._configuration())
        self._run(_SERVE.format(unit=_UNIT))

    def stop(self) -> None:
        self._run(
            f"rm -f {_UNIT}; systemctl daemon-reload; systemctl restart lab-acme;"
            " systemctl stop named"
        )

    def updates(self) -> int:
        """How many updates it has taken since the host booted."""
        found = self._run("journalctl -b -u named -o cat --grep 'adding an RR' | wc -l || true")
        return int(found)

    def _key(self) -> str:
        return f'key "{KEY}" {{ algorithm hmac-sha512; secret "{self.secret}"; }};\n'

    def _records(self) -> str:
        return (
            f"$TTL 5\n@ IN SOA ns.{self.name}. nobody.{self.name}. 1 3600 600 86400 5\n"
            f"@ IN NS ns.{self.name}.\nns IN A {self.address}\n"
        )

    def _configuration(self) -> str:
        return f"""
include "/etc/bind/test.key";
options {{ directory "/var/cache/bind"; recursion no; dnssec-validation no; }};
zone "{self.name}" {{
    type master;
    file "/var/lib/bind/{self.name}";
    update-policy {{ grant {KEY} zonesub TXT; }};
}};
"""

    def _write(self, path: str, text: str) -> None:
        script = f"sudo install -o bind -g bind -m 640 /dev/stdin {path}"
        self._lab.run(self._host, script, input=text)

    def _run(self, script: str) -> str:
        return self._lab.run(self._host, "sudo sh -eu", input=script).stdout
