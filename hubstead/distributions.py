"""The distributions that a host may have, as data: what each calls its packages, units and users.

A role asks its `site.distribution` about the host at hand, and names none of them by
itself. What is for one distribution's own tools is a module of hubstead.operations: `packages` (apt
and dpkg), `sites` (dpkg), `apache` (a2enmod), `certificates` (update-ca-certificates).
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Service:
    """What the distribution packages, and runs as the systemd unit `unit`."""

    packages: tuple[str, ...]
    unit: str


@dataclass(frozen=True)
class Docker(Service):
    """The engine. Who is in `group` may use it.

    `spares_removable`: whether it lets containers live that remove themselves (`docker run --rm`)
    when it restarts, which it does since 24.0.8 (https://github.com/moby/moby/issues/46308).
    """

    group: str
    spares_removable: bool


@dataclass(frozen=True)
class Postgres(Service):
    """The server: `unit` is that of its cluster, `starter` the one to start behind.

    `configuration` is the directory of postgresql.conf, with a conf.d. `clients` are the packages
    of psql and pg_dump. `former` are those of the distribution's former releases: a host that was
    upgraded has their clusters.
    """

    user: str
    starter: str
    version: int
    clients: tuple[str, ...]
    former: tuple[Postgres, ...] = ()

    @property
    def cluster(self) -> str:
        return f"{self.version}/main"

    @property
    def configuration(self) -> str:
        return f"/etc/postgresql/{self.cluster}"


@dataclass(frozen=True)
class WebServer(Service):
    """A web server with sites, whose workers run as `user`.

    `directory` has sites-available and sites-enabled, and there the default site `default`, which
    the package `shipper` brings. `test` is the command that finds mistakes in all of it.
    """

    name: str
    user: str
    directory: str
    shipper: str
    default: str
    test: str

    def available(self, file: str) -> str:
        """The path of a site."""
        return f"{self.directory}/sites-available/{file}"

    def enabled(self, file: str) -> str:
        """The path of a link that enables a site. The server reads them in alphabetical order."""
        return f"{self.directory}/sites-enabled/{file}"

    @property
    def default_site(self) -> str:
        """The path of the default site."""
        return self.available(self.default)

    @property
    def default_link(self) -> str:
        """The path of the link that enables it."""
        return self.enabled(self.default)


@dataclass(frozen=True)
class Distribution:
    """A release of a distribution.

    `certbot_plugin`: the package of certbot's plugin for a DNS service.
    `nginx_http2`: whether its Nginx has the directive `http2` (since 1.25), in the place of `listen
    … http2`. `base_image` is the users' image's, in an image registry.
    """

    base_packages: tuple[str, ...]
    venv_packages: tuple[str, ...]
    iptables_packages: tuple[str, ...]
    server_packages: tuple[str, ...]
    ssh_unit: str
    docker: Docker
    base_image: str
    postgres: Postgres
    nginx: WebServer
    nginx_http2: bool
    apache: WebServer
    certbot: Service
    certbot_plugin: str

    @property
    def edges(self) -> dict[str, WebServer]:
        """What may stand in front of the proxy, by the role's name."""
        return {server.name: server for server in (self.nginx, self.apache)}


DEBIAN_APACHE = WebServer(
    packages=("apache2",),
    unit="apache2.service",
    name="apache",
    user="www-data",
    directory="/etc/apache2",
    shipper="apache2",
    default="000-default.conf",
    test="apachectl configtest",
)
DEBIAN_NGINX = WebServer(
    packages=("nginx",),
    unit="nginx.service",
    name="nginx",
    user="www-data",
    directory="/etc/nginx",
    shipper="nginx-common",
    default="default",
    test="nginx -t -q",
)


def _debian_postgres(version: int, *former: Postgres) -> Postgres:
    return Postgres(
        packages=(f"postgresql-{version}",),
        unit=f"postgresql@{version}-main.service",
        user="postgres",
        starter="postgresql.service",
        version=version,
        clients=(f"postgresql-client-{version}",),
        former=former,
    )


POSTGRES_15 = _debian_postgres(15)
POSTGRES_17 = _debian_postgres(17, POSTGRES_15)


def _debian(
    codename: str,
    postgres: Postgres,
    docker_packages: tuple[str, ...],
    spares_removable: bool,
    nginx_http2: bool,
) -> Distribution:
    return Distribution(
        base_packages=(
            "ca-certificates",
            "curl",
            "openssl",
            "python3-venv",
            "tzdata",
            "unattended-upgrades",
        ),
        venv_packages=("python3-venv",),
        iptables_packages=("iptables",),
        server_packages=("git", "iproute2", "less", "nano"),
        ssh_unit="ssh.service",
        docker=Docker(
            packages=docker_packages,
            unit="docker.service",
            group="docker",
            spares_removable=spares_removable,
        ),
        base_image=f"debian:{codename}-slim",
        postgres=postgres,
        nginx=DEBIAN_NGINX,
        nginx_http2=nginx_http2,
        apache=DEBIAN_APACHE,
        certbot=Service(packages=("certbot",), unit="certbot.timer"),
        certbot_plugin="python3-certbot-dns-{service}",
    )


#: By ID and VERSION_ID of os-release(5)
DISTRIBUTIONS = {
    ("debian", "12"): _debian(
        "bookworm", POSTGRES_15, ("docker.io",), spares_removable=False, nginx_http2=False
    ),
    ("debian", "13"): _debian(
        "trixie",
        POSTGRES_17,
        ("docker.io", "docker-cli", "docker-buildx"),
        spares_removable=True,
        nginx_http2=True,
    ),
}
#: The same in words
SUPPORTED = "Debian 12 and 13"
