"""Settings of groups of people, and of what people may start."""

from __future__ import annotations

import difflib
import re
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator

from hubstead.settings.accounts import Groups, Names
from hubstead.settings.jupyterhub import SHORTEST, HubSettings, own_directory
from hubstead.settings.model import Others, Settings, check_distinct
from hubstead.texts import in_bytes, is_image

#: Where folders of groups are in servers
PLACE = "/shared"
#: Ways to log in that tell of groups
TELLING = ("ldap", "oidc", "pam", "saml")
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")

Memory = Annotated[str, Field(pattern=r"^[1-9]\d*[MGT]$")]
Cores = Annotated[float, Field(gt=0, allow_inf_nan=False)]


def _text(value: str) -> str:
    if value != value.strip() or not value or not value.isprintable() or len(value) > 200:
        raise ValueError(f"{value!r} is no text in one line, of 200 characters at most")
    return value


Text = Annotated[str, AfterValidator(_text)]


class Declared(BaseModel):
    """A dictionary within a setting, in which no key is mistyped."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _known(cls, value: Any) -> Any:
        known = [field.alias or name for name, field in cls.model_fields.items()]
        for key in value if isinstance(value, dict) else ():
            if key not in known:
                near = difflib.get_close_matches(str(key), known, n=1, cutoff=0.5)
                mend = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(known)}"
                raise ValueError(f"{key!r} is no key here: {mend}")
        return value


class Group(Declared):
    """People with limits and a folder of their own.

    `source`, in settings `from`: groups of the provider's whose people are members;
    `teachers_from`: of teachers. Who teaches is a member, too.
    """

    members: Names = []
    teachers: Names = []
    source: Groups = Field([], alias="from")
    teachers_from: Groups = []
    memory: Memory | None = None
    cpus: Cores | None = None
    idle_timeout: Annotated[int, Field(ge=0)] | None = None
    shared: bool = False

    @field_validator("idle_timeout")
    @classmethod
    def _longer_than_a_start(cls, value: int | None) -> int | None:
        if value and value < SHORTEST:
            raise ValueError(
                f"a server is not even up by then: at least {SHORTEST} seconds, or 0 for never"
            )
        return value


class Profile(Declared):
    """What people may start."""

    name: Text
    description: Text | None = None
    image: str | None = None
    memory: Memory | None = None
    cpus: Cores | None = None
    groups: list[str] = []


class GroupsSettings(Settings):
    """Groups of people, and what people may start."""

    prefixes = ("hub_",)

    hub_groups: dict[str, Group] = Field(
        {},
        description="Groups, by name: members, teachers, limits and a shared folder: "
        '{"physics": {"members": ["ada"], "teachers": ["grace"], "memory": "4G", "shared": True}} '
        "(docs/groups.md).",
    )
    hub_group_files: str = Field(
        "/srv/hubstead/groups",
        description="Where shared folders of groups are, a directory each.",
    )
    hub_allowed_images: list[str] = Field(
        [],
        description="Images of your own that people may start in the place of the one that the "
        "host builds; a run fetches what is not there (docs/image.md).",
    )
    hub_profiles: list[Profile] = Field(
        [],
        description="What people may start, the default first; with more than one they choose: "
        '[{"name": "Small"}, {"name": "Large", "memory": "8G", "cpus": 4, "groups": ["physics"]}] '
        "(docs/groups.md).",
    )

    @field_validator("hub_groups")
    @classmethod
    def _names(cls, value: dict[str, Group]) -> dict[str, Group]:
        for name in value:
            if not _NAME.fullmatch(name):
                raise ValueError(
                    f"{name!r} is no name of a group: lower-case letters, digits, - and _, 32 at "
                    "most"
                )
        return value

    @field_validator("hub_group_files")
    @classmethod
    def _own_directory(cls, value: str) -> str:
        return own_directory(value)

    @field_validator("hub_allowed_images")
    @classmethod
    def _images(cls, value: list[str]) -> list[str]:
        for image in value:
            if not is_image(image) or not re.search(r"[:@][^/]+$", image):
                raise ValueError(
                    f"{image!r} is no image with a tag, such as registry.example.org/course:2026"
                )
            if image.startswith("hubstead/"):
                raise ValueError(f"{image!r}: what hubstead/ has is built by the host itself")
        return value

    @field_validator("hub_profiles")
    @classmethod
    def _once(cls, value: list[Profile]) -> list[Profile]:
        check_distinct([profile.name for profile in value])
        return value

    def check(self) -> None:
        for profile in self.hub_profiles:
            if profile.image and profile.image not in self.hub_allowed_images:
                raise ValueError(
                    f"`hub_profiles`: {profile.name!r} has the image {profile.image!r}, which "
                    "`hub_allowed_images` does not have"
                )
            for name in profile.groups:
                if name not in self.hub_groups:
                    near = difflib.get_close_matches(name, list(self.hub_groups), n=1, cutoff=0.5)
                    mend = f"; did you mean {near[0]!r}?" if near else ""
                    raise ValueError(
                        f"`hub_profiles`: {profile.name!r} is for the group {name!r}, which "
                        f"`hub_groups` does not have{mend}"
                    )

    def check_beside(self, others: Others) -> None:
        hub = others[HubSettings]
        for name, group in self.hub_groups.items():
            for source in (*group.source, *group.teachers_from):
                way = source.partition(":")[0] if hub.several_ways else hub.ways[0]
                if way not in hub.ways:
                    raise ValueError(
                        f"`hub_groups`: {name!r} has people `from` {source!r}, and with several "
                        "`hub_authenticators` that says whose group it is, such as "
                        f"'{hub.ways[-1]}:{source}'"
                    )
                if way not in TELLING:
                    raise ValueError(
                        f"`hub_groups`: {name!r} has people `from` groups of the provider's, of "
                        f"which {hub.choice(way)} tells nothing; {', '.join(TELLING)} do. Name "
                        "them in `members`"
                    )
        if hub.hub_spawner != "docker" and self.hub_allowed_images:
            raise ValueError(
                "`hub_allowed_images` are for `hub_spawner` = 'docker': servers of "
                f"{hub.hub_spawner!r} have no image"
            )
        together = hub.hub_servers_memory
        declared = [
            *((f"`hub_groups`: {name!r}", each.memory) for name, each in self.hub_groups.items()),
            *((f"`hub_profiles`: {each.name!r}", each.memory) for each in self.hub_profiles),
        ]
        for what, memory in declared:
            if together and memory and in_bytes(memory) > in_bytes(together):
                raise ValueError(
                    f"{what} has {memory} of memory for one server, and all together have "
                    f"`hub_servers_memory` = {together!r}"
                )
        if not self.shared:
            return
        one, other = self.hub_group_files, hub.hub_files
        if f"{one}/".startswith(f"{other}/") or f"{other}/".startswith(f"{one}/"):
            raise ValueError(
                f"`hub_group_files` = {one!r} and `hub_files` = {other!r}: one is within the other"
            )
        for place in hub.hub_shared_files.values():
            if f"{place}/".startswith(f"{PLACE}/"):
                raise ValueError(
                    f"`hub_shared_files`: {place} in servers is where folders of `hub_groups` are"
                )

    @property
    def shared(self) -> dict[str, str]:
        """Folders on the host, by the names of their groups."""
        return {
            name: f"{self.hub_group_files}/{name}"
            for name, group in self.hub_groups.items()
            if group.shared
        }

    @property
    def idle_timeouts(self) -> list[int]:
        """Those of groups that have one, in seconds; 0 for never."""
        declared = [group.idle_timeout for group in self.hub_groups.values()]
        return [each for each in declared if each is not None]

    def groups_of(self, hub: HubSettings, way: str) -> list[str]:
        """Groups of a provider's whose people are in one here, as the provider calls them."""
        groups = self.hub_groups.values()
        sources = [each for group in groups for each in (*group.source, *group.teachers_from)]
        return hub.entries_of(way, sources)
