"""Groups of people, and what people may start: what the Hub and its filter are told of them."""

from __future__ import annotations

import re
from typing import Any

from hubstead import hub
from hubstead.settings.groups import PLACE, GroupsSettings
from hubstead.settings.jupyterhub import HubSettings
from hubstead.site import Site
from hubstead.texts import in_bytes


def escaped(name: str) -> str:
    """A person's name as that of the files (escapism, as DockerSpawner has it)."""
    return re.sub("[^a-z0-9]", lambda found: f"-{ord(found[0]):02x}", name)


def rules(site: Site) -> dict[str, Any]:
    """For the Hub, which reads it again while it runs: `Group` and `Profile` of hubstead_hub."""
    settings = site[GroupsSettings]
    return {
        "idle_timeout": site[HubSettings].hub_idle_timeout,
        "groups": {
            name: {
                "members": group.members,
                "teachers": group.teachers,
                "members_from": group.source,
                "teachers_from": group.teachers_from,
                "memory": _bytes(group.memory),
                "cpus": group.cpus,
                "idle_timeout": group.idle_timeout,
                "folder": settings.shared.get(name),
                "place": f"{PLACE}/{name}",
            }
            for name, group in settings.hub_groups.items()
        },
        "profiles": [
            {
                "name": profile.name,
                "description": profile.description or "",
                "image": profile.image,
                "memory": _bytes(profile.memory),
                "cpus": profile.cpus,
                "groups": profile.groups,
            }
            for profile in settings.hub_profiles
        ],
    }


def policy(site: Site) -> dict[str, Any]:
    """For what bounds the Hub: `Group` and `Profile` of docker_filter.py and people_servers.py.

    Who is in a provider's groups only the Hub knows: by its word anybody may be.
    """
    settings = site[GroupsSettings]
    return {
        "images": settings.hub_allowed_images,
        "groups": {
            name: {
                "members": sorted(map(escaped, {*group.members, *group.teachers})),
                "teachers": sorted(map(escaped, group.teachers)),
                "anybody": bool(group.source or group.teachers_from),
                "anybody_teaches": bool(group.teachers_from),
                "memory": _bytes(group.memory),
                "cpus": group.cpus,
                "folder": settings.shared.get(name),
                "place": f"{PLACE}/{name}",
            }
            for name, group in settings.hub_groups.items()
        },
        "profiles": [
            {
                "groups": profile.groups,
                "memory": _bytes(profile.memory),
                "cpus": profile.cpus,
            }
            for profile in settings.hub_profiles
        ],
    }


def _bytes(memory: str | None) -> int | None:
    return in_bytes(memory) if memory else None


def configuration(site: Site) -> hub.Configuration:
    """What of it counts whatever servers run in: limits, and the page on which people choose.

    The code is there without any groups, too: they come while the Hub runs.
    """
    code = ("give_people_what_their_groups_have",)
    if not site[GroupsSettings].hub_profiles:
        return hub.Configuration({}, code=code)
    return hub.Configuration(
        traits={
            "Spawner": {
                "options_form": hub.made_by("hubstead_hub.groups:Chooser"),
                "options_from_form": hub.made_by("hubstead_hub.groups:Chosen"),
                "apply_user_options": hub.made_by("hubstead_hub.groups:Applied"),
            }
        },
        code=code,
    )
