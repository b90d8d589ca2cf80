"""A host on which someone's own web server was first, and the role that joins it."""

from __future__ import annotations

import json
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lab import Lab
from tests.kit.service import Service
from tests.kit.support import PROJECT, Run

INVENTORY = PROJECT / "tests/inventories/owner.py"
NAME = "own.example.org"
HTTPS = f"https://{NAME}/jupyter/"
#: The owner's own site
SHOP, GOODS = "shop.example.org", "Fine goods\n"

#: All names lead to the host itself
CURL = (
    "curl -s --noproxy '*' --max-time 20 --cacert /etc/hubstead/tls/ca.pem"
    " --connect-to ::127.0.0.1:"
)
STATUS = f"{CURL} -o /dev/null -w '%{{http_code}} %{{redirect_url}}\\n'"

_UPSTREAM = """
systemctl stop upstream 2>/dev/null || true
cat >/root/upstream.py
systemd-run -q --collect --unit=upstream \\
    python3 /root/upstream.py 8000 {0}/fullchain.pem {0}/key.pem
until ss -Hltn sport = :8000 | grep -q .; do sleep 0.1; done
"""
_CONFIGURATION = r"""
find /etc/{0} /etc/systemd /srv /usr/local /var/lib/hubstead /var/www \
    -path '*/hubstead/roles' -prune -o -printf '%p %M %u %l\n' | sort
find /etc/{0} /var/lib/hubstead /var/www -type f -exec md5sum {{}} + | sort
"""
_NGINX = """
export DEBIAN_FRONTEND=noninteractive
apt-get install -qy --no-install-recommends nginx >/dev/null
openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=shop.example.org -addext \
    subjectAltName=DNS:shop.example.org -keyout /root/shop.key -out /root/shop.crt 2>/dev/null
cat >/etc/nginx/sites-available/shop <<END
server {
    listen 80 default_server;
    listen 443 ssl;
    ssl_certificate /root/shop.crt;
    ssl_certificate_key /root/shop.key;
    server_name shop.example.org;
    location = / { return 200 "Fine goods\\n"; }
}
END
ln -s ../sites-available/shop /etc/nginx/sites-enabled/shop
rm /etc/nginx/sites-enabled/default
nginx -t -q && systemctl restart nginx
"""
_APACHE = """
export DEBIAN_FRONTEND=noninteractive
apt-get install -qy --no-install-recommends apache2 >/dev/null
echo 'Listen 8088' >>/etc/apache2/ports.conf
mkdir /srv/shop
echo 'Fine goods' >/srv/shop/index.html
cat >/etc/apache2/sites-available/shop.conf <<END
<VirtualHost *:80 *:8088>
    ServerName shop.example.org
    DocumentRoot /srv/shop
    <Directory /srv/shop>
        Require all granted
    </Directory>
</VirtualHost>
END
a2ensite -q shop
systemctl restart apache2
"""
_APACHE_FOLLOWS = """
export DEBIAN_FRONTEND=noninteractive
apt-get install -qy --no-install-recommends libapache2-mod-xsendfile >/dev/null
printf 'XSendFile On\\nXSendFilePath /etc\\n' >/etc/apache2/conf-enabled/follow.conf
systemctl reset-failed apache2
systemctl restart apache2
"""
_APACHE_FOLLOWS_NO_MORE = """
export DEBIAN_FRONTEND=noninteractive
rm /etc/apache2/conf-enabled/follow.conf
apt-get purge -qy libapache2-mod-xsendfile >/dev/null
# the packages have restarted it as well: on a fast machine oftener than systemd lets it
systemctl reset-failed apache2
systemctl restart apache2
"""
_APACHE_LEADS = """
cat >>/etc/apache2/sites-available/shop.conf <<END
<VirtualHost *:443>
    ServerName shop.example.org
    SSLEngine On
    SSLCertificateFile /etc/hubstead/tls/fullchain.pem
    SSLCertificateKeyFile /etc/hubstead/tls/key.pem
    Include hubstead.conf
</VirtualHost>
END
"""


class Owned(Service):
    """The host; the service is under /jupyter/. What differs between the web servers:

    + edge: the setting and the role, in words `title`; `unit` is Debian's name nearly everywhere.
    + owner: has the server serve the shop.
    + broken: a file that it reads.
    + lead, leave: have the shop include our snippet, by a line that begins with `include`, and not
      any more.
    + leftovers: what a purge of the packages leaves of it and of the shop.
    + follow, unfollow: have it follow what answers say of files to send, and as before.
    + lies: headers by which a visitor may say who he is; `headers`: those of each answer.
    + slash: the status that adds one to the path; `unproven`: that of a proxy who is another;
      `unknown`: that of the service's path at a name that no site has.
    """

    edge: str
    title: str
    unit: str
    owner: str
    broken: str
    include: str
    lead: str
    leave: str
    follow = unfollow = "true"
    leftovers: str
    slash: int
    unproven: int
    unknown: int
    lies = (
        "X-Forwarded-For", "X-Real-IP", "X-Forwarded-Host", "X-Forwarded-Port", "X-Forwarded-Proto",
        "X-Scheme", "Forwarded",
    )  # fmt: skip
    headers = (
        "x-content-type-options: nosniff",
        "strict-transport-security: max-age=31536000",
        "referrer-policy: strict-origin-when-cross-origin",
    )

    def __init__(self, lab: Lab, directory: Path) -> None:
        super().__init__(lab, directory, INVENTORY, NAME, settings=(f"edge={self.edge}",))
        self.servers = None

    def deploy(self, *data: str) -> Run:
        """Deploy the edge alone."""
        arguments = [word for pair in data for word in ("--data", pair)]
        return self.run(*arguments, f"deploys/{self.edge}.py")

    def join(self) -> None:
        """Deploy it beside the owner's sites; a second time changes nothing."""
        first = self.deploy()
        assert first.status == 0, first.end
        again = self.deploy()
        assert (again.status, again.changed) == (0, []), again.end

    def retire(self) -> Run:
        """Deploy what a setting without an edge would begin with."""
        deploy = self.directory / "retire.py"
        deploy.write_text(
            "from hubstead.retire import retire\nfrom hubstead.site import here\n\nretire(here())\n"
        )
        return self.run("--data", "edge=none", str(deploy))

    def configuration(self) -> list[str]:
        """The owner's server's, and where we might leave something."""
        return self.sudo(_CONFIGURATION.format(self.unit)).splitlines()

    def main_process(self) -> str:
        """The process of the server that lives until a restart."""
        return self.sudo(f"systemctl show -p MainPID -p ExecMainStartTimestamp {self.unit}")

    def answer(self, words: str = HTTPS) -> dict[str, Any]:
        """What reached the proxy of a request to the service; headers in lower case."""
        told: dict[str, Any] = json.loads(self.sudo(f"{CURL} {words}"))
        return told | {"headers": {key.lower(): value for key, value in told["headers"].items()}}

    def begin(self, directory: str) -> None:
        """Have the stand-in for the proxy serve with the certificate in `directory`."""
        program = (PROJECT / "tests/kit/upstream.py").read_text()
        self.sudo(_UPSTREAM.format(directory), input=program)

    @contextmanager
    def websocket(self) -> Iterator[ssl.SSLSocket]:
        """One to the stand-in, which gives back what it gets."""
        plain = socket.create_connection((self.address, 443), timeout=20)
        with self.site.tls().wrap_socket(plain, server_hostname=self.name) as wrapped:
            wrapped.sendall(
                f"GET /jupyter/ws HTTP/1.1\r\nHost: {self.name}\r\nUpgrade: websocket\r\n"
                "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode()
            )
            assert wrapped.recv(4096).startswith(b"HTTP/1.1 101 ")
            yield wrapped

    def check_shop(self) -> None:
        """The owner's own sites answer."""
        raise NotImplementedError

    def check_service(self) -> None:
        assert self.answer()["path"] == "/jupyter/"


class Nginx(Owned):
    """Their own sites: the default one of port 80, and one with a certificate of its own on 443."""

    edge, title, unit = "nginx", "Nginx", "nginx"
    owner = _NGINX
    broken = "/etc/nginx/conf.d/theirs.conf"
    include = "include"
    lead = "sed -i '/location/i include snippets/hubstead.conf;' /etc/nginx/sites-available/shop"
    leave = "sed -i /hubstead/d /etc/nginx/sites-available/shop"
    leftovers = "/var/www"
    slash, unproven, unknown = 301, 503, 404
    lies = (*Owned.lies, "X_Forwarded_For")
    headers = (*Owned.headers, "server: nginx")

    def join(self) -> None:
        """Nor is it restarted."""
        before = self.main_process()
        super().join()
        assert self.main_process() == before

    def check_shop(self) -> None:
        """Also for names that nobody has."""
        for words in (f"http://{SHOP}/", "http://192.0.2.7/", f"-k https://{SHOP}/"):
            assert self.sudo(f"{CURL} {words}") == GOODS
        served = f"openssl s_client -connect 127.0.0.1:443 -servername {SHOP} </dev/null 2>&1"
        assert f"CN = {SHOP}" in self.sudo(served).replace("CN=", "CN = ")


class Apache(Owned):
    """Their own site, on a port of its own as well; ports.conf is edited, 000-default is not."""

    edge, title, unit = "apache", "Apache", "apache2"
    owner = _APACHE
    follow, unfollow = _APACHE_FOLLOWS, _APACHE_FOLLOWS_NO_MORE
    broken = "/etc/apache2/conf-enabled/theirs.conf"
    include = "Include"
    lead = _APACHE_LEADS
    leave = "sed -i '/:443/,$d' /etc/apache2/sites-available/shop.conf"
    leftovers = "/srv/shop /etc/apache2 /var/lib/apache2"
    slash, unproven, unknown = 302, 500, 421

    def configuration(self) -> list[str]:
        modules = self.sudo("apachectl -t -D DUMP_MODULES").splitlines()
        return [*super().configuration(), *modules]

    def check_shop(self) -> None:
        for url in (f"http://{SHOP}/", f"http://{SHOP}:8088/"):
            assert self.sudo(f"{CURL} {url}") == GOODS
