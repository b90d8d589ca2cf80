"""Offboarding: a person leaves for good; the files are archived, then removed with the account."""

from __future__ import annotations

import json

from pyinfra import logger
from pyinfra.api.exceptions import PyinfraError
from pyinfra.context import host

from hubstead import hub, people, rules
from hubstead.groups import escaped
from hubstead.operations import offboard
from hubstead.progress import summarise
from hubstead.roles.database.userdb import UserdbSettings
from hubstead.roles.hub.spawners.docker import server_prefix
from hubstead.settings.accounts import AccountsSettings
from hubstead.settings.groups import GroupsSettings
from hubstead.settings.jupyterhub import HubSettings
from hubstead.settings.offboard import OffboardSettings
from hubstead.site import Site


def _plan(site: Site, name: str) -> str:
    """For the program: `Plan` of programs/offboard.py."""
    plan = {
        "name": name,
        "escaped": escaped(name),
        "files": site[HubSettings].hub_files,
        "groups": site[GroupsSettings].hub_group_files,
        "archives": site[OffboardSettings].offboard_archives,
        "containers": server_prefix(escaped(name)),
        "volume": f"{people.VOLUMES}{escaped(name)}",
        "rules": rules.file(site),
        "marks": hub.MARKS,
        "left": hub.LEFT,
        "group": hub.USER,
    }
    return json.dumps(plan)


def _refuse_who_is_named(site: Site, name: str) -> None:
    """Raises PyinfraError for a person whom the settings name: the next run would let them in."""
    named = site[OffboardSettings].named_by(site[AccountsSettings], site[GroupsSettings])
    if name in [person.username for person in site[UserdbSettings].hub_users]:
        named.append("hub_users")
    if named:
        keys = " and ".join(f"`{key}`" for key in named)
        raise PyinfraError(
            f"{name} is still named in {keys}; nothing was changed. Take the name out, deploy, and "
            "run this again."
        )


def _say(site: Site, name: str, found: offboard.Belongings) -> None:
    """What the run does, before it begins."""
    does = []
    if found.servers:
        does.append("stops the server")
    if found.directory:
        size = f"{found.size / (1 << 20):.1f} MiB in {found.files} files and directories"
        archives = site[OffboardSettings].offboard_archives
        does.append(f"archives {size} as {archives}/{name}-DATE.tar.gz, and removes them")
    if found.begun:
        does.append("removes what a run before this one archived")
    if found.account:
        does.append("removes the account from the users table")
    elif found.known:
        does.append("has the Hub end all sessions, and forget the account")
    logger.info(f"{host.name}: {name} leaves for good. This run {'; '.join(does)}.")
    if site[HubSettings].ways != ("users-table",):
        logger.warning(
            f"{host.name}: whoever the provider still lets in comes back as somebody new. "
            f"`hub_blocked_users` = [{name!r}] keeps {name} out."
        )


def offboard_person(site: Site) -> None:
    """Archive and remove what is of the person whom the run names, on the Hub's host.

    Raises PyinfraError where it names nobody, or somebody whom the settings name too.
    """
    name = site[OffboardSettings].offboard_user
    if name is None:
        raise PyinfraError(
            "Nobody is named, and nothing was changed: run again with `--data offboard_user=NAME`. "
            f"It archives NAME's files in {site[OffboardSettings].offboard_archives}, and removes "
            "account and files then (docs/users.md)."
        )
    _refuse_who_is_named(site, name)
    if not site.plays("hub") or not site.serves("jupyterhub"):
        return
    plan = _plan(site, name)
    found = host.get_fact(offboard.Leaving, plan)
    if found.still:
        raise PyinfraError(
            f"{host.name}: {name} may still log in there, by `{found.still[0]}` of the last deploy;"
            " nothing was changed. Deploy what the settings say now, then run this again."
        )
    if found.volume:
        raise PyinfraError(
            f"{host.name}: files of {name} are in a volume of an earlier version; nothing was "
            "changed. Deploy, which moves them, then run this again."
        )
    if found.any:
        _say(site, name, found)
    else:
        logger.info(f"{host.name}: there is nobody of the name {name}; nothing was changed.")
    offboard.offboarded(name=f"Archive and remove what is {name}'s", plan=plan)
    if found.any:
        summarise(f"{name} is gone; archives are in {site[OffboardSettings].offboard_archives}")
