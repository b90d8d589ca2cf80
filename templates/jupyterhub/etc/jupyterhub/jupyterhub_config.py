# Written by Hubstead (hub_*). Lines of your own go to /etc/jupyterhub/conf.d/NAME.py, which is read
# after this file and is yours: no run changes or removes what is there.
import os
import sys
{% if database_apart %}
import time
{% endif %}
from pathlib import Path

from hubstead_userdb import templates_dir
{% if database_apart %}
from sqlalchemy import event
from sqlalchemy.engine import Engine
{% endif %}

c = get_config()  # noqa: F821


def credential(name):
    return (Path(os.environ["CREDENTIALS_DIRECTORY"]) / name).read_text().strip()


# The Hub itself
c.JupyterHub.db_url = credential("database-url")
c.JupyterHub.db_kwargs = {"pool_pre_ping": True}
c.JupyterHub.cookie_secret = bytes.fromhex(credential("cookie-secret"))
c.JupyterHub.base_url = {{ settings.hub_base_url | tojson }}
c.JupyterHub.public_url = {{ (public_url ~ settings.hub_base_url) | tojson }}
c.JupyterHub.hub_bind_url = {{ hub_url | tojson }}
c.JupyterHub.hub_connect_url = {{ hub_url | tojson }}
# the edge, as the proxy names it in X-Forwarded-For: the visitor is who comes before it
c.JupyterHub.trusted_downstream_ips = {{ downstream | tojson }}
c.JupyterHub.concurrent_spawn_limit = {{ settings.hub_concurrent_spawns }}
c.JupyterHub.template_paths = [str(templates_dir())]
c.JupyterHub.log_level = {{ ("DEBUG" if settings.hub_debug else "INFO") | tojson }}
# running servers outlive the Hub: it finds them again when it starts
c.JupyterHub.cleanup_servers = False
c.JupyterHub.cleanup_proxy = False

{% if database_apart %}
{% include "jupyterhub/etc/jupyterhub/database.py" %}
{% endif %}
{% include "jupyterhub/etc/jupyterhub/proxy/" ~ proxy ~ ".py" %}
# Login: the users table
c.JupyterHub.authenticator_class = "hubstead_userdb.authenticator.UsersTableAuthenticator"
c.UsersTableAuthenticator.dsn_file = str(Path(os.environ["CREDENTIALS_DIRECTORY"]) / "users")
# users' servers reach the Hub's port too: their word on where a login comes from counts nothing
c.UsersTableAuthenticator.servers_network = {{ servers_network | tojson }}

# Servers: a container and a volume a user
c.JupyterHub.spawner_class = "dockerspawner.DockerSpawner"
c.DockerSpawner.image = {{ image | tojson }}
c.DockerSpawner.pull_policy = "never"
c.DockerSpawner.cmd = ["/opt/jupyter/bin/python", "-s", "-m", "jupyterhub.singleuser"]
c.DockerSpawner.name_template = "hubstead-{username}--{servername}"
c.DockerSpawner.network_name = {{ network | tojson }}
c.DockerSpawner.use_internal_ip = True
c.DockerSpawner.remove = True
c.DockerSpawner.notebook_dir = "/home/jovyan"
c.DockerSpawner.volumes = {"hubstead-user-{username}": "/home/jovyan"}
c.DockerSpawner.mem_limit = {{ settings.hub_memory_limit | tojson }}
c.DockerSpawner.cpu_limit = {{ settings.hub_cpu_limit }}
c.DockerSpawner.extra_host_config = {
    "cap_drop": ["ALL"],
    "init": True,
    "pids_limit": {{ settings.hub_process_limit }},
    "security_opt": ["no-new-privileges"],
}
c.Spawner.default_url = "/lab"
c.Spawner.http_timeout = 60
c.Spawner.start_timeout = 120

# Services
c.JupyterHub.services = [{"name": "metrics", "api_token": credential("metrics")}]
c.JupyterHub.load_roles = [{"name": "metrics", "scopes": ["read:metrics"], "services": ["metrics"]}]
{% if settings.hub_idle_timeout or settings.hub_max_age %}
c.JupyterHub.services.append(
    {
        "name": "idle-culler",
        "command": [
            sys.executable,
            "-m",
            "jupyterhub_idle_culler",
            "--timeout={{ settings.hub_idle_timeout or settings.hub_max_age }}",
            "--max-age={{ settings.hub_max_age }}",
        ],
    }
)
c.JupyterHub.load_roles.append(
    {
        "name": "idle-culler",
        "scopes": ["list:users", "read:users:activity", "read:servers", "delete:servers"],
        "services": ["idle-culler"],
    }
)
{% endif %}

for path in sorted(Path("/etc/jupyterhub/conf.d").glob("*.py")):
    load_subconfig(str(path))  # noqa: F821
