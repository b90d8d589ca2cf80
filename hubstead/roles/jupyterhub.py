"""JupyterHub: release, configuration, credentials, unit."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator
from pyinfra.api.deploy import deploy

from hubstead import hub, secrets, wheels
from hubstead.operations import accounts, files, units
from hubstead.programs import program
from hubstead.progress import summarise
from hubstead.render import render
from hubstead.roles import chp, docker, edge, postgres, traefik
from hubstead.roles.application import ApplicationSettings
from hubstead.roles.base import claim, distribution
from hubstead.roles.ports import refuse_taken_ports
from hubstead.roles.python import release
from hubstead.settings import Others, Settings, load
from hubstead.texts import is_path

USER = traefik.HUB_USER
#: Read by systemd as root and handed to the Hub alone (LoadCredential=, systemd.exec(5))
CREDENTIALS = "/etc/jupyterhub/credentials"
#: Without a secret, and nobody but the Hub has to read it
SETTINGS = "/etc/jupyterhub/settings.json"


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


def _hub_url() -> str:
    return f"http://{load(docker.DockerSettings).gateway}:{load(HubSettings).hub_api_port}"


def _itself() -> hub.Configuration:
    settings = load(HubSettings)
    return hub.Configuration(
        traits={
            "JupyterHub": {
                "db_url": hub.credential("database-url"),
                "db_kwargs": {"pool_pre_ping": True},
                "cookie_secret_file": hub.credential_file("cookie-secret"),
                "base_url": settings.hub_base_url,
                "public_url": edge.public_url() + settings.hub_base_url,
                "hub_bind_url": _hub_url(),
                "hub_connect_url": _hub_url(),
                # the edge, as the proxy names it in X-Forwarded-For: the visitor is who comes
                # before it
                "trusted_downstream_ips": [net.split("/")[0] for net in edge.edge_networks()],
                "concurrent_spawn_limit": settings.hub_concurrent_spawns,
                "log_level": "DEBUG" if settings.hub_debug else "INFO",
                # running servers outlive the Hub: it finds them again when it starts
                "cleanup_servers": False,
                "cleanup_proxy": False,
                "services": [{"name": "metrics", "api_token": hub.credential("metrics")}],
                "load_roles": [
                    {"name": "metrics", "scopes": ["read:metrics"], "services": ["metrics"]}
                ],
            },
        },
        code=() if postgres.shares_host() else ("refuse_at_once_while_the_database_is_away",),
    )


def _authenticator() -> hub.Configuration:
    """Login by the users table."""
    return hub.Configuration(
        traits={
            "JupyterHub": {
                "authenticator_class": "hubstead_hub.authenticator.UsersTableAuthenticator",
                "template_paths": [hub.packaged("hubstead_hub", "templates")],
            },
            "UsersTableAuthenticator": {
                "dsn_file": hub.credential_file("users"),
                # users' servers reach the Hub's port too: their word on where a login comes from
                # counts nothing
                "servers_network": str(load(docker.DockerSettings).docker_subnet),
            },
        }
    )


def _spawner() -> hub.Configuration:
    """Servers: a container and a volume a user."""
    settings = load(HubSettings)
    return hub.Configuration(
        traits={
            "JupyterHub": {"spawner_class": "dockerspawner.DockerSpawner"},
            "DockerSpawner": {
                "image": docker.image(),
                "pull_policy": "never",
                "cmd": ["/opt/jupyter/bin/python", "-s", "-m", "jupyterhub.singleuser"],
                "name_template": "hubstead-{username}--{servername}",
                "network_name": docker.NETWORK,
                "use_internal_ip": True,
                "remove": True,
                "notebook_dir": "/home/jovyan",
                "volumes": {"hubstead-user-{username}": "/home/jovyan"},
                "mem_limit": settings.hub_memory_limit,
                "cpu_limit": settings.hub_cpu_limit,
                "extra_host_config": {
                    "cap_drop": ["ALL"],
                    "init": True,
                    "pids_limit": settings.hub_process_limit,
                    "security_opt": ["no-new-privileges"],
                },
            },
            "Spawner": {"default_url": "/lab", "http_timeout": 60, "start_timeout": 120},
        }
    )


def _culler() -> hub.Configuration:
    """What stops servers that are idle, or old."""
    settings = load(HubSettings)
    timeout = settings.hub_idle_timeout or settings.hub_max_age
    if not timeout:
        return hub.Configuration({})
    scopes = ["list:users", "read:users:activity", "read:servers", "delete:servers"]
    command = ["/opt/hubstead/hub/current/bin/python", "-m", "jupyterhub_idle_culler"]
    command += [f"--timeout={timeout}", f"--max-age={settings.hub_max_age}"]
    return hub.Configuration(
        traits={
            "JupyterHub": {
                "services": [{"name": "idle-culler", "command": command}],
                "load_roles": [
                    {"name": "idle-culler", "scopes": scopes, "services": ["idle-culler"]}
                ],
            }
        }
    )


@deploy("jupyterhub")
def jupyterhub() -> None:
    settings = load(HubSettings)
    refuse_taken_ports("jupyterhub", {"hub_api_port": settings.hub_api_port})
    configuration, unit = (
        "/etc/jupyterhub/jupyterhub_config.py",
        "/etc/systemd/system/jupyterhub.service",
    )
    proxy = load(edge.EdgeSettings).proxy
    routing = chp.for_the_hub() if proxy == "chp" else traefik.for_the_hub()
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
    release(name="Build the release of JupyterHub", component="hub", wheels=wheels.of("hub"))
    files.present(
        name="Write the Hub's configuration",
        entries={
            "/etc/jupyterhub": files.Directory(),
            "/etc/jupyterhub/conf.d": files.Directory(),
            CREDENTIALS: files.Directory(mode="700"),
            **{f"{CREDENTIALS}/{name}": files.secret(text) for name, text in credentials.items()},
            # before what reads it: a Hub that restarts while a run is cut here still starts
            SETTINGS: files.File(
                hub.settings_json([_itself(), routing, _authenticator(), _spawner(), _culler()]),
                mode="640",
                group=USER,
            ),
            configuration: files.File(program("jupyterhub_config.py")),
            unit: files.File(
                render(
                    "jupyterhub",
                    unit,
                    user=USER,
                    needs=needs,
                    credentials=sorted(credentials),
                    directory=CREDENTIALS,
                    health=f"{_hub_url()}{settings.hub_base_url}hub/health",
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
