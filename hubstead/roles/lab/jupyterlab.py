"""JupyterLab for a group that shares one: behind a login, with the users in PostgreSQL.

In order from the visitor: the edge; Nginx on this host, which asks the login about each request
(auth_request); the login; a relay, which ends websockets with their session; JupyterLab, which
nobody reaches without the token that it makes at each start and that never leaves the host.
"""

from __future__ import annotations

from pydantic import Field, field_validator
from pyinfra.api.deploy import deploy

from hubstead import certificates, database, secrets, wheels
from hubstead.listeners import LOOPBACK
from hubstead.notes import claim
from hubstead.operations import accounts, files, packages, sites, units
from hubstead.ports import refuse_another, refuse_taken_ports
from hubstead.programs import program
from hubstead.progress import summarise
from hubstead.releases import release
from hubstead.render import render
from hubstead.settings.application import ApplicationSettings
from hubstead.settings.base import check_package_names
from hubstead.settings.edge import EdgeSettings
from hubstead.settings.model import Others, Settings
from hubstead.site import Site

USER = "jupyterlab"
#: The least that the login takes (hubstead_login.settings)
SECRET_KEY = secrets.Kind(r"[!-~]{32,}", "at least 32 characters of printable ASCII, no spaces")
#: Reads JupyterLab's token beside JupyterLab itself
TOKEN_GROUP = "hubstead-token"
CONFIGURATION = "/etc/jupyterlab"
CREDENTIALS = f"{CONFIGURATION}/credentials"
OVERRIDES = f"{CONFIGURATION}/labconfig/default_setting_overrides.json"
#: Notebooks and home of everybody
DATA = "/var/lib/jupyterlab"
SYSTEM = "/etc/systemd/system"
TMPFILES = "/etc/tmpfiles.d/hubstead-jupyterlab.conf"
SITE = "hubstead-jupyterlab"
#: Units of the login and of its relay, as what comes after `hubstead-login`
LOGIN = (".service", ".socket", "-relay.service", "-relay.socket")


class JupyterLabSettings(Settings):
    """The shared JupyterLab and its login."""

    prefixes = ("jupyterlab_", "login_")

    jupyterlab_memory_limit: str = Field(
        "4G",
        pattern=r"^[1-9]\d*[MGT]$",
        description="Memory of JupyterLab with all its kernels; the kernel that wants more dies.",
    )
    jupyterlab_packages: list[str] = Field(
        [], description="Further Debian packages for notebooks, such as gcc or texlive."
    )
    login_session_minutes: int = Field(
        15, ge=1, le=43200, description="Minutes from a login to its end, at work or not."
    )

    @field_validator("jupyterlab_packages")
    @classmethod
    def _package_names(cls, value: list[str]) -> list[str]:
        return check_package_names(value)

    def check_beside(self, others: Others) -> None:
        shared = others[ApplicationSettings].application == "jupyterlab"
        if shared and others[EdgeSettings].edge == "none":
            raise ValueError(
                '`application` = \'jupyterlab\' needs an edge: set `edge` to "nginx" or "apache"'
            )


@deploy("jupyterlab")
def jupyterlab(site: Site) -> None:
    settings, server = site[JupyterLabSettings], site.distribution.nginx
    refuse_another(site, "jupyterlab", "jupyterlab.service")
    refuse_taken_ports(site, "jupyterlab")
    credentials = {
        "users": database.conninfo(site, "userdb_login"),
        "secret-key": site.secrets.generated("login_secret_key", SECRET_KEY),
    }
    origins = " ".join(f"https://{name}{site[EdgeSettings].port_in_url}" for name in site.names)

    claim(site, "jupyterlab")
    accounts.system_user(name="Create the user jupyterlab", user=USER, home=DATA)
    accounts.system_user(
        name="Create the user hubstead-login", user="hubstead-login", home="/nonexistent"
    )
    accounts.system_group(name="Create the group that reads the token", group=TOKEN_GROUP)
    packages.installed(
        name="Install Nginx",
        packages=[*server.packages, *settings.jupyterlab_packages],
        owner="nginx",
    )
    sites.default_disabled(name="Disable the package's own page", server=server)
    release(site, name="Build the release of JupyterLab", component="singleuser")
    release(
        site, name="Build the release of the login", component="login", wheels=wheels.of("login")
    )
    files.present(
        name="Write JupyterLab's configuration",
        entries={
            CONFIGURATION: files.Directory(),
            f"{CONFIGURATION}/jupyter_server_config.py": files.File(
                program("jupyter_server_config.py")
            ),
            # the page asks nobody outside for news or updates
            OVERRIDES.rsplit("/", 1)[0]: files.Directory(),
            OVERRIDES: files.File(render("jupyterlab", OVERRIDES)),
            DATA: files.Directory(mode="700", user=USER, group=USER),
            f"{DATA}/notebooks": files.Directory(mode="700", user=USER, group=USER),
            TMPFILES: files.File(
                render(
                    "jupyterlab", TMPFILES, user=USER, proxy=server.user, token_group=TOKEN_GROUP
                )
            ),
            # now, and at each boot by the file above
            "/run/hubstead-jupyterlab": files.Directory(mode="2710", user=USER, group=server.user),
            "/run/hubstead-token": files.Directory(mode="2710", user=USER, group=TOKEN_GROUP),
            f"{SYSTEM}/jupyterlab.service": files.File(
                render("jupyterlab", f"{SYSTEM}/jupyterlab.service", settings=settings, data=DATA)
            ),
        },
    )
    units.running(
        name="Run JupyterLab",
        unit="jupyterlab.service",
        inputs=[
            f"{CONFIGURATION}/jupyter_server_config.py",
            OVERRIDES,
            TMPFILES,
            "/opt/hubstead/singleuser/current",
        ],
        children="kernels or terminals",
    )
    files.present(
        name="Write the login's configuration",
        entries={
            CREDENTIALS: files.Directory(mode="700"),
            **{f"{CREDENTIALS}/{name}": files.secret(text) for name, text in credentials.items()},
            **{
                f"{SYSTEM}/hubstead-login{unit}": files.File(
                    render(
                        "jupyterlab",
                        f"{SYSTEM}/hubstead-login{unit}",
                        settings=settings,
                        origins=origins,
                        proxy=server.user,
                        token_group=TOKEN_GROUP,
                        credentials=CREDENTIALS,
                    )
                )
                for unit in LOGIN
            },
        },
    )
    units.running(name="Listen for the login", unit="hubstead-login.socket")
    units.running(
        name="Run the login",
        unit="hubstead-login.service",
        inputs=[CREDENTIALS, "/opt/hubstead/login/current"],
    )
    units.running(name="Listen for websockets", unit="hubstead-login-relay.socket")
    units.running(
        name="Run the relay of websockets",
        unit="hubstead-login-relay.service",
        inputs=["/opt/hubstead/login/current"],
    )
    _site(site)
    summarise(f"Service: {site.url}/")


def _site(site: Site) -> None:
    server, port = site.distribution.nginx, site[EdgeSettings].proxy_port
    ours = server.available(SITE)
    shared = f"{server.directory}/conf.d/{SITE}.conf"
    hook = f"{certificates.INTERNAL}/hooks/jupyterlab"
    files.present(
        name="Write Nginx's site",
        entries={
            shared: files.File(render("jupyterlab", shared)),
            ours: files.File(
                render(
                    "jupyterlab",
                    ours,
                    listen=[str(port), f"[::]:{port}"]
                    if site.edge_apart
                    else [f"{LOOPBACK}:{port}"],
                    certificate=certificates.INTERNAL,
                    ciphers=certificates.CIPHERS,
                    edge_networks=site.edge_networks,
                )
            ),
            server.enabled(SITE): files.Link(ours),
            hook: files.File(sites.reload_hook(server), mode="755"),
        },
    )
    sites.tested(name="Test Nginx's configuration", server=server)
    units.running(
        name="Run Nginx",
        unit=server.unit,
        packaged=True,
        reload_inputs=[
            shared,
            ours,
            f"{server.directory}/sites-enabled",
            f"{certificates.INTERNAL}/current",
        ],
    )


@deploy("jupyterlab")
def absent(site: Site) -> None:
    """Remove JupyterLab and its login; everybody's notebooks stay, and the account whose they are.

    Nginx stays, for its own role to remove, and until then the note that this role was here.
    """
    server = site.distribution.nginx
    for unit in [*(f"hubstead-login{each}" for each in LOGIN[::-1]), "jupyterlab.service"]:
        units.stopped(name=f"Stop {unit}", unit=unit)
    files.present(
        name="Remove JupyterLab",
        entries={
            server.enabled(SITE): None,
            server.available(SITE): None,
            f"{server.directory}/conf.d/{SITE}.conf": None,
            **{f"{SYSTEM}/hubstead-login{each}": None for each in LOGIN},
            f"{SYSTEM}/jupyterlab.service": None,
            CONFIGURATION: None,
            TMPFILES: None,
        },
    )
    accounts.absent(name="Remove the user hubstead-login", user="hubstead-login")
    accounts.group_absent(name="Remove the group that reads the token", group=TOKEN_GROUP)
