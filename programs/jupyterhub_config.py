# Written by Hubstead (hub_*). Lines of your own go to /etc/jupyterhub/conf.d/NAME.py, which is read
# after this file and is yours: no run changes or removes what is there.
"""The Hub's configuration, the same on every host: it applies settings.json, which lies beside it.

traits   class to trait to value. In the place of a value, or anywhere within it:
         {"credential": NAME}       the text of a credential of the unit (systemd.exec(5))
         {"credential_file": NAME}  its path
         {"package": NAME, "path": PATH}  a path in a package of Python
         {"made_by": "MODULE:NAME", "arguments": [...]}  what that makes of the arguments
code     the functions below that run, in this order: what no value can say
"""

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module, resources
from pathlib import Path
from typing import IO, Any

HERE = Path(__file__).parent


def value(described: Any) -> Any:
    """What settings.json describes."""
    match described:
        case {"credential": name}:
            return _credential(name).read_text().strip()
        case {"credential_file": name}:
            return str(_credential(name))
        case {"package": name, "path": path}:
            return str(resources.files(name) / path)
        case {"made_by": path, "arguments": arguments}:
            module, _, name = path.partition(":")
            return getattr(import_module(module), name)(*arguments)
        case dict():
            return {key: value(item) for key, item in described.items()}
        case list():
            return [value(item) for item in described]
    return described


def _credential(name: str) -> Path:
    return Path(os.environ["CREDENTIALS_DIRECTORY"], name)


#: Bytes, and seconds in which they have to be here
BODIES = {"max_body_size": 4 << 20, "body_timeout": 60}


def bound_bodies() -> None:
    """Tornado 6 keeps up to 100 MB of each request in memory (HTTPServer, max_body_size), before it
    is known whose it is, and as long as it takes. JupyterHub 6.1.1 has no setting for that. What
    people, servers and services send to the Hub is a few KiB.
    """
    from tornado.httpserver import HTTPServer

    server_class: Any = HTTPServer
    initialize = server_class.initialize

    def bounded(server: HTTPServer, *arguments: Any, **options: Any) -> None:
        initialize(server, *arguments, **{**BODIES, **options})

    server_class.initialize = bounded


def tell_strangers_no_version() -> None:
    """JupyterHub 6.1.1 tells it to whoever asks for /hub/api."""
    from jupyterhub import __version__
    from jupyterhub.apihandlers import hub

    root: Any = hub.RootAPIHandler

    async def get(handler: Any) -> None:
        handler.write({"version": __version__} if handler.current_user else {})

    root.get = get


def share_the_port_with_its_holder() -> None:
    """While the Hub restarts its port is hubstead-port-jupyterhub.service's: both set SO_REUSEPORT,
    which JupyterHub 6.1.1 has no setting for, and are of one user (socket(7)).
    """
    from tornado.httpserver import HTTPServer

    server_class: Any = HTTPServer
    listen = server_class.listen

    def shared(server: HTTPServer, *arguments: Any, **options: Any) -> None:
        listen(server, *arguments, **{"reuse_port": True, **options})

    server_class.listen = shared


def refuse_at_once_while_the_database_is_away() -> None:
    """The Hub does nothing else while it tries to connect to a database on another host: after a
    failure it refuses at once for some seconds, or everyone would wait for everyone before.
    """
    from sqlalchemy import event
    from sqlalchemy.engine import Engine

    down_until = 0.0

    @event.listens_for(Engine, "do_connect")
    def connect(dialect: Any, record: Any, arguments: Any, options: Any) -> Any:
        nonlocal down_until
        if time.monotonic() < down_until:
            raise dialect.loaded_dbapi.OperationalError("the database did not answer a moment ago")
        try:
            return dialect.connect(*arguments, **options)
        except dialect.loaded_dbapi.OperationalError:
            down_until = time.monotonic() + 5
            raise


def bear_that_the_database_is_away() -> None:
    from hubstead_hub import away

    away.say_so_while_the_database_is_away()
    away.finish_starts_after_the_database_was_away()


def start_in_turn() -> None:
    from hubstead_hub import starts

    starts.start_in_turn()


def look_before_leading_back() -> None:
    from hubstead_hub import gone

    gone.look_before_leading_back()


def let_traefik_read_the_routes() -> None:
    """jupyterhub-traefik-proxy 2.1.0 writes its file through NamedTemporaryFile, so that only the
    Hub could read it (jupyterhub_traefik_proxy.traefik_utils.atomic_writing); here the unit's umask
    holds.

    Traefik 3 lists the whole directory of its file provider at each change there, and on btrfs a
    listing misses a name that rename(2) gives to another file meanwhile: for two seconds there was
    no route, and everybody had a 404. So the name there is a link that stays, to a file in the
    directory `routes` beside; what tells Traefik is the directory's time.
    """
    from jupyterhub_traefik_proxy import traefik_utils

    @contextmanager
    def atomic_writing(path: str) -> Iterator[IO[str]]:
        link = Path(path)
        target = Path("../routes", link.name)
        routes, new = link.parent / target, link.parent / f"{target}-tmp"
        with new.open("w") as file:
            yield file
        new.replace(routes)
        if not link.is_symlink():
            link.with_name(f"{link.name}-tmp").unlink(missing_ok=True)
            link.with_name(f"{link.name}-tmp").symlink_to(target)
            link.with_name(f"{link.name}-tmp").replace(link)
        os.utime(link.parent)

    traefik_utils.atomic_writing = atomic_writing


def keep_the_hub_at_its_name() -> None:
    from hubstead_hub import apart

    apart.keep_the_hub_at_its_name()


def lead_back_to_where_servers_are() -> None:
    from hubstead_hub import apart

    apart.lead_back_to_where_servers_are()


def answer_origins() -> None:
    from hubstead_hub import frames

    frames.answer_origins()


def end_sessions_of_who_left() -> None:
    from hubstead_hub import sessions

    sessions.end_sessions_of_who_left()


def end_tokens_of_before() -> None:
    from hubstead_hub import tokens

    tokens.end_tokens_of_before()


def forget_images_that_are_refused() -> None:
    """JupyterHub keeps the options of a start for the next one, before it knows what they are: who
    once asked for an image that they may not have could not start a server any more.
    """
    from dockerspawner import DockerSpawner
    from tornado.web import HTTPError

    check = DockerSpawner.check_allowed

    async def check_allowed(self: Any, image: str) -> Any:
        try:
            return await check(self, image)
        except HTTPError:
            self.orm_spawner.user_options = {}
            self.db.commit()
            raise

    DockerSpawner.check_allowed = check_allowed


def give_people_what_their_groups_have() -> None:
    from hubstead_hub import groups

    groups.give_people_what_their_groups_have()


def share_folders_of_groups() -> None:
    from hubstead_hub import groups

    groups.share_folders_of_groups()


def give_people_files() -> None:
    from hubstead_hub import files

    files.give_people_files()


def start_allowed_images() -> None:
    from hubstead_hub import groups

    groups.start_allowed_images()


def put_files_aside() -> None:
    from hubstead_hub import files

    files.put_files_aside()


#: Calls that miss the users' image or network, where somebody removed them
MADE_AGAIN = ("inspect_image", "create_container", "start")


def say_so_while_docker_is_away() -> None:
    """Who starts a server reads what is missing, and not that some connection was aborted."""
    from docker.errors import APIError, DockerException
    from dockerspawner import DockerSpawner
    from requests.exceptions import ConnectionError
    from tornado.web import HTTPError

    class AwayError(HTTPError):
        """The one error whose words JupyterHub shows to who starts a server (pages.py)."""

        def __init__(self, words: str) -> None:
            super().__init__(503, words)
            self.jupyterhub_message = words

        def __str__(self) -> str:
            return self.jupyterhub_message

    ask = DockerSpawner._docker

    def with_words(self: Any, method: str, *arguments: Any, **options: Any) -> Any:
        try:
            return ask(self, method, *arguments, **options)
        except (ConnectionError, DockerException) as error:
            if not isinstance(error, APIError):
                words = (
                    "servers cannot be started or stopped at the moment: on the Hub's host"
                    f" hubstead-docker-filter.socket or docker.service is not up ({error})"
                )
            elif error.response.status_code in (403, 503):
                words = error.explanation
            elif error.response.status_code == 404 and method in MADE_AGAIN:
                words = (
                    "servers cannot be started at the moment: the Hub's host misses something"
                    f" that hubstead-holder.service makes again in minutes ({error.explanation})"
                )
            else:
                raise
            raise AwayError(words) from error

    DockerSpawner._docker = with_words


CODE: tuple[Callable[[], None], ...] = (
    bound_bodies,
    tell_strangers_no_version,
    share_the_port_with_its_holder,
    refuse_at_once_while_the_database_is_away,
    bear_that_the_database_is_away,
    start_in_turn,
    look_before_leading_back,
    let_traefik_read_the_routes,
    keep_the_hub_at_its_name,
    lead_back_to_where_servers_are,
    answer_origins,
    end_sessions_of_who_left,
    end_tokens_of_before,
    forget_images_that_are_refused,
    give_people_what_their_groups_have,
    give_people_files,
    share_folders_of_groups,
    start_allowed_images,
    put_files_aside,
    say_so_while_docker_is_away,
)


def configure(c: Any, load_subconfig: Callable[[str], None]) -> None:
    settings = json.loads((HERE / "settings.json").read_text())
    for name, traits in settings["traits"].items():
        for trait, described in traits.items():
            c[name][trait] = value(described)
    functions = {function.__name__: function for function in CODE}
    for name in settings["code"]:
        functions[name]()
    for path in sorted((HERE / "conf.d").glob("*.py")):
        load_subconfig(str(path))


# traitlets gives both to the files that it reads (traitlets.config.loader.PyFileConfigLoader)
configure(globals()["get_config"](), globals()["load_subconfig"])
