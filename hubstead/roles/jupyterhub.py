"""JupyterHub: release, configuration, credentials, unit."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator
from pyinfra.api.deploy import deploy

from hubstead import secrets, wheels
from hubstead.operations import accounts, files, units
from hubstead.progress import summarise
from hubstead.render import render
from hubstead.roles import chp, docker, edge, postgres, traefik
from hubstead.roles.application import ApplicationSettings
from hubstead.roles.base import claim, distribution, refuse_taken_ports
from hubstead.roles.python import release
from hubstead.settings import Others, Settings, load
from hubstead.texts import is_path

USER = traefik.HUB_USER
#: Read by systemd as root and handed to the Hub alone (LoadCredential=, systemd.exec(5))
CREDENTIALS = "/etc/jupyterhub/credentials"


class HubSettings(Settings):
    """The Hub and the users' servers."""

    prefixes = ("hub_",)
    everywhere = ("hub_base_url",)

    hub_authenticator: Literal["users-table"] = Field(
        "users-table", description="How people log in; users-table: `hub_users` and `hub-users`."
    )
    hub_spawner: Literal["docker"] = Field(
        "docker", description="How their servers run; docker: a container a user."
    )
    hub_base_url: str = Field(
        "/", description="Path below which the service lives, such as /jupyter/."
    )
    hub_memory_limit: str = Field(
        "2G",
        pattern=r"^[1-9]\d*[MGT]$",
        description="Memory of a user's server; a kernel that needs more is killed.",
    )
    hub_cpu_limit: float = Field(
        2.0, gt=0, allow_inf_nan=False, description="Processor cores of a user's server."
    )
    hub_process_limit: int = Field(
        512, ge=64, description="Processes and threads of a user's server."
    )
    hub_idle_timeout: int = Field(
        3600,
        ge=0,
        description="Seconds after which an idle server is stopped; 0: never. The files stay.",
    )
    hub_max_age: int = Field(
        0, ge=0, description="Seconds after which any server is stopped, idle or not; 0: never."
    )
    hub_api_port: int = Field(
        8081, ge=1024, le=65535, description="Port of the Hub on the users' network."
    )
    hub_concurrent_spawns: int = Field(
        20, ge=1, description="Servers that may be starting at the same time."
    )
    hub_debug: bool = Field(False, description="Debug lines in the log.")

    @field_validator("hub_base_url")
    @classmethod
    def _slashes(cls, value: str) -> str:
        if not value.startswith("/") or not value.endswith("/"):
            raise ValueError('must begin and end with a slash, such as "/jupyter/"')
        if not is_path(value):
            raise ValueError(
                "between its slashes are letters, digits and - . _ ~ alone, and no part that is "
                'empty, "." or ".."'
            )
        return value

    def check_beside(self, others: Others) -> None:
        if others[ApplicationSettings].application != "jupyterhub" and self.hub_base_url != "/":
            raise ValueError(
                f"`hub_base_url` = {self.hub_base_url!r} is for `application` = 'jupyterhub': the "
                "shared JupyterLab is at /; remove it"
            )
        ports = others[edge.EdgeSettings]
        for key in ("edge_http_port", "edge_https_port", "proxy_port"):
            if getattr(ports, key) == self.hub_api_port:
                raise ValueError(f"`{key}` and `hub_api_port` must differ")


@deploy("jupyterhub")
def jupyterhub() -> None:
    settings = load(HubSettings)
    network = load(docker.DockerSettings)
    refuse_taken_ports("jupyterhub", {"hub_api_port": settings.hub_api_port})
    configuration, unit = (
        "/etc/jupyterhub/jupyterhub_config.py",
        "/etc/systemd/system/jupyterhub.service",
    )
    hub_url = f"http://{network.gateway}:{settings.hub_api_port}"
    proxy = load(edge.EdgeSettings).proxy
    needs = [distribution().docker.unit, chp.UNIT if proxy == "chp" else "traefik.service"]
    if postgres.shares_host():
        needs.append(distribution().postgres.starter)
    credentials = {
        "database-url": postgres.database_url("jupyterhub"),
        "users": postgres.conninfo("userdb_reader"),
        "cookie-secret": secrets.generated("hub_cookie_secret", secrets.HEX),
        "proxy": chp.token() if proxy == "chp" else traefik.password(),
        "metrics": secrets.generated("hub_metrics_token", secrets.TOKEN),
    }

    claim("jupyterhub")
    accounts.system_user(
        name="Create the user jupyterhub",
        user=USER,
        home="/var/lib/jupyterhub",
        groups=[distribution().docker.group],
    )
    release(name="Build the release of JupyterHub", component="hub", wheels=[wheels.userdb()])
    files.present(
        name="Write the Hub's configuration",
        entries={
            "/etc/jupyterhub": files.Directory(),
            "/etc/jupyterhub/conf.d": files.Directory(),
            CREDENTIALS: files.Directory(mode="700"),
            **{f"{CREDENTIALS}/{name}": files.secret(text) for name, text in credentials.items()},
            configuration: files.File(
                render(
                    "jupyterhub",
                    configuration,
                    settings=settings,
                    public_url=edge.public_url(),
                    hub_url=hub_url,
                    servers_network=str(network.docker_subnet),
                    downstream=[address.split("/")[0] for address in edge.edge_networks()],
                    database_apart=not postgres.shares_host(),
                    image=docker.image(),
                    network=docker.NETWORK,
                    proxy=proxy,
                    api_url=f"http://127.0.0.1:{edge.API_PORTS[proxy]}",
                    api_user=traefik.API_USER,
                    routes=f"{traefik.DYNAMIC}/routes.toml",
                )
            ),
            unit: files.File(
                render(
                    "jupyterhub",
                    unit,
                    user=USER,
                    needs=needs,
                    credentials=sorted(credentials),
                    directory=CREDENTIALS,
                    health=f"{hub_url}{settings.hub_base_url}hub/health",
                    writes=traefik.DYNAMIC if proxy == "traefik" else None,
                )
            ),
        },
    )
    units.running(
        name="Run JupyterHub",
        unit="jupyterhub.service",
        inputs=["/etc/jupyterhub", "/opt/hubstead/hub/current"],
    )
    summarise(f"Service: {edge.public_url()}{settings.hub_base_url}")
