"""Configuration of the Hub that the tests start; values come from the environment."""

import asyncio
import os
from importlib import resources
from pathlib import Path
from typing import Any, ClassVar

from jupyterhub.proxy import Proxy
from jupyterhub.spawner import Spawner

from hubstead_hub import away, gone, sessions, starts, tokens
from hubstead_hub.authenticator import UsersTableAuthenticator
from hubstead_hub.files import Shown


class NoProxy(Proxy):
    """Remembers routes; the tests talk to the Hub itself."""

    should_start = False
    routes: ClassVar[dict[str, Any]] = {}

    async def add_route(self, routespec: str, target: str, data: Any) -> None:
        self.routes[routespec] = {"routespec": routespec, "target": target, "data": data}
        if "user" in data:
            Path(f"route-{data['user']}").touch()

    async def delete_route(self, routespec: str) -> None:
        self.routes.pop(routespec, None)

    async def get_all_routes(self) -> dict[str, Any]:
        return dict(self.routes)


class NoSpawner(Spawner):
    """Never starts anything; for slow-NAME, once there is a file of that name, the Hub answers."""

    async def start(self) -> str:
        if not self.user.name.startswith("slow-"):
            raise RuntimeError("started")
        while not Path(self.user.name).exists():
            await asyncio.sleep(0.05)
        return os.environ["TEST_HUB_URL"]

    async def stop(self, now: bool = False) -> None:
        pass

    async def poll(self) -> int | None:
        return None if Path(self.user.name).exists() else 0


class Files(Shown):
    """Without a helper."""

    async def of(self, user: Any) -> str:
        return "" if user.name == "unlimited" else f"<i>The files of {user.name}"


c: Any = globals()["get_config"]()
c.JupyterHub.bind_url = os.environ["TEST_PUBLIC_URL"]
c.JupyterHub.hub_bind_url = os.environ["TEST_HUB_URL"]
c.JupyterHub.proxy_class = NoProxy
c.JupyterHub.spawner_class = NoSpawner
c.JupyterHub.authenticator_class = UsersTableAuthenticator
c.JupyterHub.template_paths = [
    str(resources.files("hubstead_hub") / name) for name in ("table_templates", "templates")
]
c.JupyterHub.template_vars = {"files_of": Files()}
c.JupyterHub.db_url = os.environ.get("TEST_HUB_DATABASE", "sqlite:///hub.sqlite")
c.JupyterHub.db_kwargs = {"pool_pre_ping": True}
c.JupyterHub.concurrent_spawn_limit = 2
c.UsersTableAuthenticator.dsn_file = os.environ["TEST_READER_DSN"]
c.UsersTableAuthenticator.bcrypt_cost = 4
c.UsersTableAuthenticator.servers_network = "127.0.0.0/29"
c.UsersTableAuthenticator.auth_refresh_age = 1
c.UsersTableAuthenticator.blocked_users = {"blocked"}
sessions.INTERVAL = 1
sessions.LEFT = Path("left.json")
sessions.end_sessions_of_who_left()
tokens.end_tokens_of_before()
away.say_so_while_the_database_is_away()
away.finish_starts_after_the_database_was_away()
starts.start_in_turn()
gone.look_before_leading_back()
