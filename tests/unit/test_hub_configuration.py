"""The Hub's configuration: as data, and the module that applies it on the host."""

from __future__ import annotations

import asyncio
import json
import os
import stat
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import requests
from tornado import web
from traitlets.config import Config
from traitlets.config.loader import PyFileConfigLoader

from hubstead.hub import Configuration, settings_json
from tests.unit.plans import DEBIAN_12, HUB, PROJECT, Plan, Run

HOST = "/etc/jupyterhub"
UNIT = "/etc/systemd/system/jupyterhub.service"


@pytest.fixture(autouse=True)
def traefik_utils(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """What the Hub's release has and this machine does not."""
    package, module = ModuleType("jupyterhub_traefik_proxy"), ModuleType("traefik_utils")
    monkeypatch.setattr(package, "traefik_utils", module, raising=False)
    monkeypatch.setitem(sys.modules, "jupyterhub_traefik_proxy", package)
    return module


class DockerException(Exception):  # noqa: N818
    """As docker-py calls it."""


class APIError(DockerException):
    """As docker-py makes it of what Docker says."""

    def __init__(self, status: int, explanation: str) -> None:
        super().__init__(f"{status} Error for http+docker://localhost: {explanation}")
        self.response = SimpleNamespace(status_code=status)
        self.explanation = explanation


class DockerSpawner:
    """What of the spawner asks Docker."""

    def __init__(self) -> None:
        self.orm_spawner = SimpleNamespace(user_options={"image": "x"})
        self.db = SimpleNamespace(commit=lambda: None)

    def _docker(self, method: str, error: Exception) -> None:
        raise error

    async def create_object(self) -> None:
        """Make the container."""

    async def check_allowed(self, image: str) -> str:
        if image != "allowed":
            raise web.HTTPError(400, "Specifying image to launch is not allowed")
        return image


@pytest.fixture(autouse=True)
def dockerspawner(monkeypatch: pytest.MonkeyPatch) -> type[DockerSpawner]:
    """What the Hub's release has, too."""
    spawner, errors = ModuleType("dockerspawner"), ModuleType("docker.errors")
    mine = type("DockerSpawner", (DockerSpawner,), {})
    monkeypatch.setattr(spawner, "DockerSpawner", mine, raising=False)
    for error in (APIError, DockerException):
        monkeypatch.setattr(errors, error.__name__, error, raising=False)
    monkeypatch.setitem(sys.modules, "dockerspawner", spawner)
    monkeypatch.setitem(sys.modules, "docker", ModuleType("docker"))
    monkeypatch.setitem(sys.modules, "docker.errors", errors)
    return mine


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """/etc/jupyterhub of a host, with credentials as systemd hands them over."""
    directory, credentials = tmp_path / "host", tmp_path / "run"
    (directory / "conf.d").mkdir(parents=True)
    credentials.mkdir()
    for name in ("database-url", "users", "cookie-secret", "proxy", "metrics"):
        (credentials / name).write_text(f"secret {name}\n")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(credentials))
    for sources in (PROJECT / "services").glob("*/src"):
        monkeypatch.syspath_prepend(sources)
    return directory


def written(plan: Plan, directory: Path, data: dict[str, Any] | None = None, **groups: Any) -> Run:
    """Put what the role writes in its place."""
    run = plan(data=data, **groups)
    run.execute()
    for name in ("jupyterhub_config.py", "settings.json"):
        (directory / name).write_text(run.files[f"{HOST}/{name}"])
    return run


def loaded(directory: Path, file: str = "jupyterhub_config.py") -> Config:
    """As JupyterHub reads it."""
    return PyFileConfigLoader(str(directory / file)).load_config()


def test_the_hub_gets_what_the_settings_say(plan: Plan, host: Path) -> None:
    written(plan, host, {"hub_base_url": "/jupyter/", "hub_memory_limit": "3G"})
    c = loaded(host)
    assert c.JupyterHub.base_url == "/jupyter/"
    assert c.JupyterHub.public_url == "https://localhost/jupyter/"
    assert c.DockerSpawner.mem_limit == "3G"
    assert c.DockerSpawner.extra_host_config["cap_drop"] == ["ALL"]
    assert c.UsersTableAuthenticator.servers_network == "172.30.0.0/16"
    assert c.JupyterHub.proxy_class == "traefik_file"
    assert [service["name"] for service in c.JupyterHub.services] == ["metrics", "idle-culler"]
    assert [role["name"] for role in c.JupyterHub.load_roles] == ["metrics", "idle-culler"]
    shared, of_the_table = c.JupyterHub.template_paths
    assert Path(shared, "error.html").is_file()
    assert Path(of_the_table, "change-password.html").is_file()


@pytest.mark.parametrize(
    ("choice", "prefixed", "eves"),
    [
        ({"hub_user_domains": True}, True, None),
        ({"hub_servers_name": "servers.example.org"}, False, "servers.example.org"),
    ],
)
def test_servers_are_at_names_of_their_own(
    plan: Plan, host: Path, choice: dict[str, Any], prefixed: bool, eves: str | None
) -> None:
    """Below a path and on another port too; a cookie for a whole name is for one server alone."""
    names = {"hub_names": ["hub.example.org"], "edge_https_port": 8443}
    written(plan, host, {"hub_base_url": "/jupyter/", **names, **choice})
    c = loaded(host)
    assert c.JupyterHub.subdomain_host == "https://hub.example.org:8443"
    assert c.JupyterHub.public_url == "https://hub.example.org:8443/jupyter/"
    assert c.JupyterHub.cookie_host_prefix_enabled is True
    off = "--HubOAuth.cookie_host_prefix_enabled=False"
    assert (off in c.Spawner.args) is not prefixed
    hook = c.JupyterHub.get("subdomain_hook")
    assert (hook and hook("eve", "hub.example.org", "user")) == eves
    assert not hook or hook("metrics", "hub.example.org", "service") == "hub.example.org"


def test_at_one_name_nothing_is_routed_by_names(plan: Plan, host: Path) -> None:
    written(plan, host, {"hub_people_trust_each_other": True})
    c = loaded(host)
    assert not {"subdomain_host", "cookie_host_prefix_enabled"} & set(c.JupyterHub)
    assert c.Spawner.args[0] == "--HubOAuth.cache_max_age=15"
    assert not [arg for arg in c.Spawner.args if "cookie" in arg]


def test_pages_of_others_are_named_where_cookies_reach_frames(plan: Plan, host: Path) -> None:
    written(plan, host, {"hub_frame_origins": ["https://a.example", "https://b.example"]})
    c = loaded(host)
    settings = c.JupyterHub.tornado_settings
    assert settings["headers"] == {
        "Content-Security-Policy": "frame-ancestors https://a.example https://b.example"
    }
    assert settings["cookie_options"] == {"SameSite": "None", "Secure": True}
    assert c.Spawner.environment == {
        "JUPYTERHUB_FRAME_ORIGINS": "https://a.example https://b.example"
    }
    written(plan, host, {})
    c = loaded(host)
    assert c.JupyterHub.tornado_settings == {"xsrf_cookie_kwargs": {"secure": True}}
    assert "environment" not in c.Spawner


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (requests.exceptions.ConnectionError("aborted"), r"hubstead-docker-filter\.socket or dock"),
        (DockerException("while fetching server API version"), "is not up .*API version"),
        (APIError(403, "Privileged is nothing"), "^Privileged is nothing$"),
        (APIError(503, "Docker does not answer"), "^Docker does not answer$"),
        (APIError(404, "network hubstead not found"), r"hubstead-holder.*\(network hubstead not "),
    ],
)
def test_who_cannot_start_a_server_reads_why(
    plan: Plan, host: Path, dockerspawner: type[DockerSpawner], error: Exception, words: str
) -> None:
    written(plan, host)
    assert loaded(host).DockerSpawner.client_kwargs == {
        "base_url": "unix:///run/hubstead-docker-filter.sock"
    }
    # what JupyterHub shows of errors that come at once
    with pytest.raises(web.HTTPError, match=words) as caught:
        dockerspawner()._docker("start", error)
    assert vars(caught.value)["jupyterhub_message"] == str(caught.value)
    # the spawner takes what Docker says by its number
    assert not isinstance(caught.value, APIError)


def test_an_image_that_is_refused_is_not_asked_for_again(
    plan: Plan, host: Path, dockerspawner: type[DockerSpawner]
) -> None:
    written(plan, host)
    loaded(host)
    spawner = dockerspawner()
    assert asyncio.run(spawner.check_allowed("allowed")) == "allowed"
    assert spawner.orm_spawner.user_options == {"image": "x"}
    with pytest.raises(web.HTTPError):
        asyncio.run(spawner.check_allowed("x"))
    assert spawner.orm_spawner.user_options == {}


def test_what_docker_says_itself_stays(
    plan: Plan, host: Path, dockerspawner: type[DockerSpawner]
) -> None:
    written(plan, host)
    loaded(host)
    with pytest.raises(APIError):
        dockerspawner()._docker("inspect_container", APIError(404, "No such container"))


def test_servers_outlive_a_restart_of_the_engine(plan: Plan, host: Path) -> None:
    """Docker 20.10 ends those that remove themselves (moby/moby#46308); 26.1 does not."""
    written(plan, host, machine=DEBIAN_12)
    assert loaded(host).DockerSpawner.extra_host_config["auto_remove"] is False
    written(plan, host)
    assert loaded(host).DockerSpawner.extra_host_config["auto_remove"] is True


def test_secrets_come_from_the_unit_alone(plan: Plan, host: Path, tmp_path: Path) -> None:
    run = written(plan, host)
    (command,) = [line for line in run.sent.commands if f"{HOST}/settings.json root " in line]
    assert command.endswith(" root jupyterhub 640 /var/lib/hubstead")
    text = run.files[f"{HOST}/settings.json"]
    (made,) = (tmp_path / ".secrets").rglob("*.json")
    for name, secret in json.loads(made.read_text()).items():
        assert secret not in text, name
    c = loaded(host)
    assert c.JupyterHub.db_url == "secret database-url"
    assert c.TraefikFileProviderProxy.traefik_api_password == "secret proxy"
    assert c.JupyterHub.services[0]["api_token"] == "secret metrics"
    assert Path(c.JupyterHub.cookie_secret_file).read_text() == "secret cookie-secret\n"
    assert Path(c.UsersTableAuthenticator.dsn_file).read_text() == "secret users\n"


def test_lines_of_the_owner_come_after_ours_in_order(plan: Plan, host: Path) -> None:
    written(plan, host)
    (host / "conf.d/20-later.py").write_text("c.DockerSpawner.mem_limit = '9G'\n")
    (host / "conf.d/10-first.py").write_text(
        "c.DockerSpawner.mem_limit = '8G'\n"
        "c.DockerSpawner.environment = {'A': '1'}\n"
        "c.JupyterHub.services.append({'name': 'mine'})\n"
    )
    (host / "conf.d/notes.txt").write_text("not Python")
    c = loaded(host)
    assert (c.DockerSpawner.mem_limit, c.DockerSpawner.environment) == ("9G", {"A": "1"})
    names = [service["name"] for service in c.JupyterHub.services]
    assert names == ["metrics", "idle-culler", "mine"]


def test_without_a_limit_nothing_is_culled(plan: Plan, host: Path) -> None:
    written(plan, host, {"hub_idle_timeout": 0, "hub_max_age": 0})
    assert [service["name"] for service in loaded(host).JupyterHub.services] == ["metrics"]


@pytest.mark.parametrize(
    ("idle", "age", "every", "reports"),
    [
        (3600, 0, 300, 300),
        (120, 0, 15, 15),
        (10, 0, 5, 5),
        (3600, 15, 5, 300),
        (0, 15, 5, 300),
        (120, 86400, 15, 15),
        (86400, 604800, 300, 300),
        (0, 3600, 300, 300),
    ],
)
def test_looks_and_reports_follow_the_shortest_limit(
    plan: Plan, host: Path, idle: int, age: int, every: int, reports: int
) -> None:
    written(plan, host, {"hub_idle_timeout": idle, "hub_max_age": age, "hub_busy_max": 7})
    c = loaded(host)
    (culler,) = [each for each in c.JupyterHub.services if each["name"] == "idle-culler"]
    _, _, module, *given = culler["command"]
    assert module == "hubstead_hub.culling"
    assert given == [
        f"--timeout={idle or age}", f"--max-age={age}", f"--every={every}", f"--reports={reports}"
    ]  # fmt: skip
    assert f"--JupyterHubSingleUser.hub_activity_interval={reports}" in c.Spawner.args
    assert "--Hubstead.busy_max=7" in c.Spawner.args


def test_people_go_as_servers_do_where_the_settings_say_so(plan: Plan, host: Path) -> None:
    (host.parent / "run/service-portal").write_text("secret service-portal\n")
    for cull in (False, True):
        written(
            plan,
            host,
            {
                "hub_authenticator": "token",
                "hub_service_accounts": {"portal": ["admin:users"]},
                "hub_cull_users": cull,
            },
        )
        c = loaded(host)
        (culler,) = [each for each in c.JupyterHub.services if each["name"] == "idle-culler"]
        (role,) = [each for each in c.JupyterHub.load_roles if each["name"] == "idle-culler"]
        assert ("--users" in culler["command"]) == cull
        assert ("delete:users" in role["scopes"]) == cull


def test_the_other_proxy_has_its_own(plan: Plan, host: Path, traefik_utils: ModuleType) -> None:
    written(plan, host, {"proxy": "chp"})
    c = loaded(host)
    assert c.JupyterHub.proxy_class == "configurable-http-proxy"
    assert c.ConfigurableHTTPProxy.auth_token == "secret proxy"
    assert "TraefikFileProviderProxy" not in c
    assert not hasattr(traefik_utils, "atomic_writing")


def test_traefiks_group_reads_the_routes(
    plan: Plan, host: Path, tmp_path: Path, traefik_utils: ModuleType
) -> None:
    """Through a name that a change leaves alone, so that no listing of the directory misses it."""
    written(plan, host)
    loaded(host)
    for directory in ("dynamic", "routes"):
        (tmp_path / directory).mkdir()
    seen = tmp_path / "dynamic/routes.toml"
    # as earlier versions wrote it
    seen.write_text("before")

    def write(text: str, before: str) -> int:
        os.utime(seen.parent, (0, 0))
        with traefik_utils.atomic_writing(str(seen)) as file:
            file.write(text)
            file.flush()
            assert seen.read_text() == before
        assert seen.read_text() == text
        assert seen.parent.stat().st_mtime > 0  # what Traefik hears of
        return seen.lstat().st_ino

    before = os.umask(0o027)
    try:
        name = write("after", "before")
        assert write("later", "after") == name
    finally:
        os.umask(before)
    assert [path.name for path in seen.parent.iterdir()] == ["routes.toml"]
    assert stat.S_IMODE(seen.stat().st_mode) == 0o640


# A process of its own: SQLAlchemy's listeners are for every engine, and for good.
_ASK_TWICE = """
import sys, time
from sqlalchemy import create_engine
from traitlets.config.loader import PyFileConfigLoader
PyFileConfigLoader(sys.argv[1]).load_config()
engine = create_engine("sqlite:////nowhere/hub.sqlite")
now = 100.0
time.monotonic = lambda: now
for now in (100.0, 104.0, 106.0):
    try:
        engine.connect()
    except Exception as error:
        print("a moment ago" in str(error))
"""


@pytest.mark.parametrize(
    ("apart", "answers"), [(True, ["False", "True", "False"]), (False, ["False"] * 3)]
)
def test_a_database_elsewhere_is_not_waited_for_twice(
    plan: Plan, host: Path, apart: bool, answers: list[str]
) -> None:
    groups = {"db": ["@fake/db.example.org"]} if apart else {}
    written(plan, host, {"proxy": "chp"}, hub=[HUB], **groups)
    settings = json.loads((host / "settings.json").read_text())
    # this process has no spawner
    for spawners in (
        "forget_images_that_are_refused",
        "give_people_files",
        "share_folders_of_groups",
        "say_so_while_docker_is_away",
    ):
        settings["code"].remove(spawners)
    (host / "settings.json").write_text(json.dumps(settings))
    command = [sys.executable, "-c", _ASK_TWICE, str(host / "jupyterhub_config.py")]
    paths = os.pathsep.join(sys.path)
    done = subprocess.run(
        command, env={**os.environ, "PYTHONPATH": paths}, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == answers


def test_the_hub_shares_its_port_with_what_holds_it(
    plan: Plan, host: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module, asked = ModuleType("tornado.httpserver"), []

    class HTTPServer:
        def initialize(self, *arguments: Any, **options: Any) -> None: ...

        def listen(self, port: int, address: str, reuse_port: bool = False) -> None:
            asked.append((port, address, reuse_port))

    monkeypatch.setattr(module, "HTTPServer", HTTPServer, raising=False)
    monkeypatch.setitem(sys.modules, "tornado.httpserver", module)
    run = written(plan, host)
    c = loaded(host)
    HTTPServer().listen(8081, address="172.30.0.1")
    assert asked == [(8081, "172.30.0.1", True)]
    assert c.JupyterHub.hub_bind_url == "http://172.30.0.1:8081"
    holder = run.files["/etc/systemd/system/hubstead-port-jupyterhub.service"]
    assert "ExecStart=/usr/local/lib/hubstead/port-holder 172.30.0.1:8081\n" in holder
    assert "User=jupyterhub\n" in holder and "\nUser=jupyterhub\n" in run.files[UNIT]


def test_parts_are_put_together() -> None:
    one = Configuration({"A": {"list": [1], "same": 5}}, ("first",))
    other = Configuration({"A": {"list": [2], "same": 5}, "B": {"x": None}}, ("second",))
    merged = json.loads(settings_json([one, other]))
    assert merged["traits"] == {"A": {"list": [1, 2], "same": 5}, "B": {"x": None}}
    assert merged["code"] == ["first", "second"]
    with pytest.raises(ValueError, match=r"A\.same is 5 and 6"):
        settings_json([one, Configuration({"A": {"same": 6}})])
