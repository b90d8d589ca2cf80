"""The rules of who may log in and stay, and what they get: a Hub reads them while it runs."""

from __future__ import annotations

import json

from hubstead import groups, hub
from hubstead.operations import files
from hubstead.settings.accounts import AccountsSettings
from hubstead.settings.groups import GroupsSettings
from hubstead.settings.jupyterhub import HubSettings
from hubstead.site import Site

#: Read by hubstead_hub.rules, again whenever it is another. What the one says of people means
#: nobody to a Hub that still goes by the other, and would end their sessions before it restarts
FILE, OF_SEVERAL = "/etc/hubstead/hub-rules.json", "/etc/hubstead/hub-rules-of-several.json"


def file(site: Site) -> str:
    """The path, by whether entries say of which way to log in they are."""
    return OF_SEVERAL if site[HubSettings].several_ways else FILE


def former(site: Site) -> str:
    """The path that the Hub had before, where it had another."""
    return FILE if site[HubSettings].several_ways else OF_SEVERAL


def written(site: Site) -> files.File:
    """The file, whose names are nobody's to read but the Hub's."""
    settings = site[AccountsSettings]
    document = {
        "everyone": settings.hub_allow_everyone is True,
        **({"everyone_of": sorted(everyone)} if (everyone := settings.everyone_of) else {}),
        "allowed": sorted(settings.hub_allowed_users),
        "blocked": sorted(settings.hub_blocked_users),
        "admins": sorted(settings.hub_admins),
        "allowed_groups": sorted(settings.hub_allowed_groups),
        "admin_groups": sorted(settings.hub_admin_groups),
        "names": settings.hub_username_map,
        **groups.rules(site),
    }
    text = json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False)
    return files.File(f"{text}\n", mode="640", group=hub.USER)


def asks_for_groups(site: Site, way: str) -> bool:
    """Whether groups of a way to log in count, so that whoever knows people has to tell theirs."""
    settings = site[HubSettings]
    return bool(
        site[AccountsSettings].groups_of(settings, way)
        or site[GroupsSettings].groups_of(settings, way)
    )


def configuration(site: Site) -> hub.Configuration:
    """What every way to log in of ours has."""
    return hub.Configuration(
        traits={
            "JupyterHub": {"template_paths": [hub.packaged("hubstead_hub", "templates")]},
            "Ruled": {"rules_file": file(site)},
        },
        code=("end_sessions_of_who_left",),
    )
