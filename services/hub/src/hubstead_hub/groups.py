"""What people get by the groups of the settings, and what they choose to start.

It counts from the next start of a server on; an idle time at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from jinja2 import Environment, PackageLoader
from jupyterhub import spawner as jupyterhub_spawner
from jupyterhub.apihandlers import base as apihandlers
from jupyterhub.handlers import base, pages
from tornado import web
from tornado.httputil import url_concat

from hubstead_hub.later import Waiting
from hubstead_hub.rules import Group, Profile, Rules

#: Not typed, and to be changed here
_Spawner: Any = jupyterhub_spawner.Spawner
_BaseHandler: Any = base.BaseHandler
_APIHandler: Any = apihandlers.APIHandler
_SpawnHandler: Any = pages.SpawnHandler

_pages = Environment(loader=PackageLoader("hubstead_hub"), autoescape=True)


class ProfileError(web.HTTPError):
    """What somebody may not start; `jupyterhub_message` is what the page shows."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(status, message)
        self.jupyterhub_message = message


@dataclass(frozen=True)
class Place:
    """Where somebody stands by the rules.

    + groups: of the settings, by name, that have the person.
    + teaches: the names of those in which they teach.
    """

    rules: Rules = field(default_factory=Rules)
    groups: Mapping[str, Group] = field(default_factory=dict)
    teaches: frozenset[str] = frozenset()

    @property
    def memory(self) -> int | None:
        """Bytes; of several groups the most counts. None where no group says anything."""
        return max((g.memory for g in self.groups.values() if g.memory), default=None)

    @property
    def cpus(self) -> float | None:
        return max((g.cpus for g in self.groups.values() if g.cpus), default=None)

    @property
    def idle_timeout(self) -> int | None:
        """Seconds; 0 for never, which is longer than anything. None where nothing says."""
        said = [g.idle_timeout for g in self.groups.values() if g.idle_timeout is not None]
        return 0 if 0 in said else max(said, default=self.rules.idle_timeout)

    def folders(self, writable: bool) -> dict[str, str]:
        """What groups share, on the host to in servers: what the person may change, or only see."""
        return {
            group.folder: group.place
            for name, group in self.groups.items()
            if group.folder and (name in self.teaches) == writable
        }

    @property
    def profiles(self) -> list[Profile]:
        """What the person may start, the default first."""
        return [
            profile
            for profile in self.rules.profiles
            if not profile.groups or profile.groups & self.groups.keys()
        ]


def place_of(user: Any) -> Place:
    """Where a user of the Hub's stands now."""
    authenticator = user.authenticator
    # an owner's lines may have chosen another
    if not hasattr(authenticator, "rules"):
        return Place()
    rules: Rules = authenticator.rules.now
    theirs = authenticator.groups_of(user)
    groups = {name: group for name, group in rules.declared.items() if group.has(user.name, theirs)}
    teaches = {name for name, group in groups.items() if group.has_teacher(user.name, theirs)}
    return Place(rules, groups, frozenset(teaches))


def profile_of(place: Place, options: Mapping[str, Any]) -> Profile | None:
    """What is started: what was chosen, else the default. None where there is nothing to choose.

    What was chosen once may have gone since, or be for a group that the person has left.

    Raises ProfileError for who may start nothing.
    """
    if not place.rules.profiles:
        return None
    if not place.profiles:
        raise ProfileError(
            403, "There is nothing here that you may start: you are in none of the groups for that."
        )
    chosen = (each for each in place.profiles if each.name == options.get("profile"))
    return next(chosen, place.profiles[0])


def check_choice(place: Place, options: Mapping[str, Any] | None) -> None:
    """Raise ProfileError for what somebody asked for now, and there is not, or not for them."""
    profile_of(place, {})
    if not place.rules.profiles or not options or "profile" not in options:
        return
    if options["profile"] not in [profile.name for profile in place.profiles]:
        choices = ", ".join(repr(profile.name) for profile in place.profiles)
        raise ProfileError(400, f"There is no such profile to start. There are: {choices}.")


def give_people_what_their_groups_have() -> None:
    """Limits at each start, the choice of a profile, and the idle time of each server."""
    override, spawn = _Spawner.apply_group_overrides, _BaseHandler.spawn_single_user
    wrap, model = _SpawnHandler._wrap_spawn_single_user, _APIHandler.server_model

    async def apply_group_overrides(self: Any) -> None:
        if not hasattr(self, "_without_groups"):
            # of the settings, and an owner's lines
            self._without_groups = self.mem_limit, self.cpu_limit
        memory, cpus = self._without_groups
        place = place_of(self.user)
        self.mem_limit, self.cpu_limit = place.memory or memory, place.cpus or cpus
        await override(self)

    async def spawn_single_user(
        self: Any, user: Any, server_name: str = "", display_name: str = "", options: Any = None
    ) -> Any:
        # before it counts as a start that failed, and as what they want the next time
        check_choice(place_of(user), options)
        return await spawn(self, user, server_name, display_name, options)

    async def _wrap_spawn_single_user(
        self: Any,
        user: Any,
        server_name: str,
        display_name: str,
        spawner: Any,
        pending_url: str,
        options: Any = None,
    ) -> Any:
        try:
            return await wrap(self, user, server_name, display_name, spawner, pending_url, options)
        except (Waiting, ProfileError) as error:
            # JupyterHub would show the form again, which waits for nobody, and log where that was
            if isinstance(error, Waiting) and self.request.method == "POST":
                url = f"{self.hub.base_url}spawn/{user.escaped_name}"
                chosen = {f"opt-{key}": value for key, value in (options or {}).items()}
                self.redirect(url_concat(url, chosen), status=303)
            else:
                self.send_error(error.status_code, exc_info=(type(error), error, None))
            return None

    def server_model(self: Any, spawner: Any, **options: Any) -> Any:
        described = model(self, spawner, **options)
        user = options.get("user") or spawner.user
        idle = place_of(user).idle_timeout if hasattr(user, "authenticator") else None
        if idle is not None:
            # for what stops idle servers (hubstead_hub.culling)
            described["idle_timeout"] = idle
        return described

    _Spawner.apply_group_overrides = apply_group_overrides
    _BaseHandler.spawn_single_user = spawn_single_user
    _SpawnHandler._wrap_spawn_single_user = _wrap_spawn_single_user
    _APIHandler.server_model = server_model


def share_folders_of_groups() -> None:
    """Have in each container what the person's groups share; the filter before Docker looks."""
    from dockerspawner import DockerSpawner

    spawner_class: Any = DockerSpawner
    create = spawner_class.create_object

    async def create_object(self: Any) -> Any:
        if not hasattr(self, "_without_folders"):
            self._without_folders = dict(self.volumes), dict(self.read_only_volumes)
        changed, seen = self._without_folders
        place = place_of(self.user)
        self.volumes = changed | place.folders(writable=True)
        self.read_only_volumes = seen | place.folders(writable=False)
        return await create(self)

    spawner_class.create_object = create_object


def start_allowed_images() -> None:
    """Start the image that was asked for, else the one of the profile, else the host's own.

    DockerSpawner itself keeps the one of the last start. In an image that the host did not build, a
    server is called as JupyterHub installs it (jupyterhub-singleuser).
    """
    from dockerspawner import DockerSpawner

    spawner_class: Any = DockerSpawner
    start, create = spawner_class.start, spawner_class.create_object

    async def begin(self: Any, *arguments: Any, **options: Any) -> Any:
        if not hasattr(self, "_of_the_host"):
            self._of_the_host = self.image, self.cmd
        profile = profile_of(place_of(self.user), self.user_options)
        self.image = (profile and profile.image) or self._of_the_host[0]
        return await start(self, *arguments, **options)

    async def create_object(self: Any) -> Any:
        image, command = self._of_the_host
        self.cmd = command if self.image == image else ["jupyterhub-singleuser"]
        return await create(self)

    spawner_class.start, spawner_class.create_object = begin, create_object


class Chooser:
    """`Spawner.options_form`: where somebody may start several things."""

    def __call__(self, spawner: Any) -> str:
        place = place_of(spawner.user)
        if len(place.profiles) < 2:
            return ""
        chosen = profile_of(place, spawner.orm_spawner.user_options or {})
        return _pages.get_template("profiles.html").render(
            profiles=[
                {
                    "name": each.name,
                    "description": each.description,
                    "limits": _limits(each.memory, each.cpus),
                    "chosen": each is chosen,
                }
                for each in place.profiles
            ]
        )


def _limits(memory: int | None, cpus: float | None) -> str:
    """In words, such as "8 GiB, 4 cores"; empty for what everybody has."""
    words = []
    if memory:
        size, unit = (memory >> 30, "GiB") if memory % (1 << 30) == 0 else (memory >> 20, "MiB")
        words.append(f"{size} {unit} of memory")
    if cpus:
        words.append(f"{cpus:g} {'core' if cpus == 1 else 'cores'}")
    return ", ".join(words)


class Chosen:
    """`Spawner.options_from_form`: what the form says."""

    def __call__(self, form: Mapping[str, list[str]]) -> dict[str, Any]:
        return {"profile": form["profile"][0]} if form.get("profile") else {}


class Applied:
    """`Spawner.apply_user_options`: the limits of what was chosen."""

    def __call__(self, spawner: Any, options: Mapping[str, Any]) -> None:
        profile = profile_of(place_of(spawner.user), options)
        if profile:
            spawner.mem_limit = profile.memory or spawner.mem_limit
            spawner.cpu_limit = profile.cpus or spawner.cpu_limit
