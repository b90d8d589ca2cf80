"""People's files: a directory and a uid for each person, whatever their servers run in."""

from __future__ import annotations

import json
from pathlib import Path

from pyinfra import logger
from pyinfra.api.deploy import deploy
from pyinfra.api.exceptions import PyinfraError
from pyinfra.context import host

from hubstead import hub
from hubstead.operations import accounts, checks, files, people_files, units
from hubstead.programs import program
from hubstead.render import render
from hubstead.settings.groups import GroupsSettings
from hubstead.settings.jupyterhub import HubSettings
from hubstead.site import Site

#: What makes people's files ready, and where it is told where they are
_HELPER = "hubstead-people-files"
_PLACES = "/etc/hubstead/people-files.json"
SOCKET_UNIT = f"{_HELPER}.socket"
_PARENT = "/srv/hubstead"
_LISTENER, _SERVICE = (f"/etc/systemd/system/{_HELPER}{end}" for end in (".socket", "@.service"))
#: A person's volume in earlier versions, and where files are in a server
VOLUMES, HOME = "hubstead-user-", "/home/jovyan"
#: Whom files belong to: none of Debian's ranges has these uids (Debian Policy, 9.2.2; subuid(5)
#: begins at 100000); the gid is that of the image's user
UIDS, GID = (70000, 79999), 59000
#: All servers together
SLICE = "hubstead-users.slice"
_SLICE = f"/etc/systemd/system/{SLICE}"


def refuse_what_is_elsewhere(site: Site) -> None:
    """Raises PyinfraError where directories of the settings are not where these say, or not as.

    And where an account of the host has an id of people's: their files would be its own.
    """
    _refuse_another_place(site)
    _refuse_absent_quotas(site)
    _refuse_absent_directories(site)
    _refuse_holders()


def _refuse_holders() -> None:
    first, last = UIDS
    holders = host.get_fact(accounts.Holders, first, last, GID)
    if holders:
        raise PyinfraError(
            f"{host.name} has {', '.join(holders)}, and people's files belong to the uids {first} "
            f"to {last} and the gid {GID}: what is theirs would be its own as well. Nothing was "
            "changed. Give it another number (usermod --uid, groupmod --gid), and its files too."
        )


def _document(site: Site) -> str:
    """For the helper: `Places` of programs/people_files.py."""
    settings = site[HubSettings]
    places = {"files": settings.hub_files, "volumes": VOLUMES, "uids": UIDS, "gid": GID}
    end = {"keep": False} if settings.hub_cull_users else {}
    return json.dumps({**places, "limits": settings.files_limits, **end}, indent=2) + "\n"


def _refuse_absent_quotas(site: Site) -> None:
    """Raises PyinfraError where people's files are to have limits, and the disk holds none."""
    settings = site[HubSettings]
    if not settings.hub_disk_quota:
        return
    disk = host.get_fact(people_files.Disk, _document(site))
    if disk is None or disk.quotas:
        return
    raise PyinfraError(
        f"{host.name}: `hub_disk_quota` = {settings.hub_disk_quota!r} needs quotas by user, and the"
        f" file system of `hub_files` = {settings.hub_files!r} ({disk.fstype} of {disk.source} at"
        f" {disk.target}) {_how_to_have_quotas(disk)}. Nothing was changed. See docs/servers.md"
        " (Quotas), also for a host with one disk. If the files have a disk of"
        " their own, it is not mounted there."
    )


def _how_to_have_quotas(disk: people_files.DiskState) -> str:
    """What the owner does for it, as the end of a sentence."""
    match disk.fstype:
        case "ext4" if disk.target == "/":
            return (
                "has none switched on. Add usrquota to its options in /etc/fstab, then: apt install"
                " quota; mount -o remount /; quotacheck --create-files --no-remount --user /;"
                " quotaon /"
            )
        case "ext4":
            return (
                "has none switched on. Stop what uses it, add usrquota to its options in "
                f"/etc/fstab, then: umount {disk.target}; tune2fs -O quota {disk.source}; "
                f"mount {disk.target}"
            )
        case "xfs" if disk.target == "/":
            return (
                "has none switched on. Add rootflags=uquota to GRUB_CMDLINE_LINUX in "
                "/etc/default/grub, then: update-grub; reboot"
            )
        case "xfs":
            return (
                "has none switched on. Stop what uses it, add uquota to its options in /etc/fstab, "
                f"then: umount {disk.target}; mount {disk.target}"
            )
        case _:
            return "cannot have them. Put the files on ext4 or XFS"


def _refuse_another_place(site: Site) -> None:
    """Raises PyinfraError where people's files are at another place than the settings say."""
    files, there = site[HubSettings].hub_files, host.get_fact(people_files.Place, _PLACES)
    if there not in (None, files):
        raise PyinfraError(
            f"{host.name}: people's files are in {there}, and `hub_files` = {files!r}; nothing was "
            "changed. Move them first (docs/servers.md, Files), or set `hub_files` back."
        )


def _refuse_absent_directories(site: Site) -> None:
    """Raises PyinfraError where a directory for everybody is none: Docker would make it, empty."""
    shared = site[HubSettings].hub_shared_files
    if not shared:
        return
    known = host.get_fact(files.Paths, list(shared))
    for path in shared:
        state = known.get(path)
        if state and state.kind == "link" and state.end:
            _, state = state.end
        if state is None or state.kind != "directory":
            raise PyinfraError(
                f"{host.name}: there is no directory {path}, of `hub_shared_files`; nothing was "
                "changed. Make it, or take it out."
            )


def configuration(site: Site) -> hub.Configuration:
    """What people see of their limits, whatever their servers run in; nothing without limits."""
    if site[HubSettings].files_limits is None:
        return hub.Configuration({})
    return hub.Configuration(
        traits={
            "JupyterHub": {"template_vars": {"files_of": hub.made_by("hubstead_hub.files:Shown")}},
        }
    )


@deploy("files")
def ready(site: Site) -> None:
    """A directory and a uid for each person, where earlier versions had volumes of one uid.

    And a directory for each group with a folder.
    """
    settings, shared = site[HubSettings], site[GroupsSettings].shared
    directory = settings.hub_files
    parents = {str(Path(path).parent) for path in shared.values()}
    service = render(
        "people",
        _SERVICE,
        files=directory,
        program=people_files.PROGRAM,
        places=_PLACES,
        limits=settings.files_limits,
    )
    files.present(
        name="Write what makes people's files ready",
        entries={
            "/usr/local/lib/hubstead": files.Directory(),
            people_files.PROGRAM: files.File(program("people_files.py"), mode="755"),
            # of an earlier version under a umask of root's that let nobody through
            **({_PARENT: files.Directory()} if directory.startswith(f"{_PARENT}/") else {}),
            # whose they are is nobody's to list
            directory: files.Directory(mode="711"),
            **{path: files.Directory(mode="711") for path in parents},
            _PLACES: files.File(_document(site)),
            _SERVICE: files.File(service),
            _LISTENER: files.File(
                render("people", _LISTENER, socket=f"/run/{_HELPER}.sock", user=hub.USER)
            ),
        },
    )
    units.running(name="Listen for the Hub", unit=SOCKET_UNIT)
    if shared:
        people_files.folders(
            name="Make the folders of groups", paths=list(shared.values()), gid=GID
        )
    if settings.files_limits:
        people_files.limited(
            name="Limit what each person's files take", document=_document(site), places=_PLACES
        )
    else:
        people_files.unlimited(
            name="Let people's files take what there is", files=directory, places=_PLACES
        )
    people_files.adopted(
        name="Move the files of people's volumes",
        prefix=VOLUMES,
        files=directory,
        places=_PLACES,
    )


def together(site: Site) -> None:
    """Limit what all servers need together."""
    memory = site[HubSettings].servers_memory(site.machine.memory)
    files.present(
        name="Write the limits of all servers together",
        entries={_SLICE: files.File(render("people", _SLICE, memory=memory))},
    )
    units.limited(name="Let them count", unit=SLICE)


def apart() -> None:
    """End what is left of all servers, and their limits."""
    # with what holds it (systemd.slice(5))
    units.stopped(name="Stop their slice", unit=SLICE.partition("-")[0] + ".slice")
    files.present(name="Remove their limits", entries={_SLICE: None})


@deploy("files")
def absent() -> None:
    """Remove what makes them ready; the files stay."""
    units.stopped(name="Stop listening for the Hub", unit=SOCKET_UNIT)
    files.present(
        name="Remove what made people's files ready",
        entries={_LISTENER: None, _SERVICE: None},
    )


def check(site: Site) -> checks.Check:
    """That the Hub can have somebody's files made ready."""
    return checks.Check(
        name="Ask what makes people's files ready, as the Hub does",
        part="What makes people's files ready",
        script=f"{hub.AS_ITSELF} {checks.says(f'/run/{_HELPER}.sock', '{}', checks.REFUSED)}",
        mend=f"systemctl status {_HELPER}.socket; journalctl -u '{_HELPER}@*'",
        of="files",
        units=(SOCKET_UNIT,),
    )


def say_what_is_in_volumes(site: Site) -> None:
    """Tell whose files were not moved out of a volume of an earlier version."""
    found = host.get_fact(people_files.Volumes, VOLUMES, site[HubSettings].hub_files)
    if found["used"]:
        logger.info(
            f"{host.name}: the files of {len(found['used'])} people are in volumes of an earlier "
            "version, which their servers still have: they move when a server starts anew."
        )
    if found["free"]:
        logger.warning(
            f"{host.name}: the files of {', '.join(found['free'][:5])} are in volumes of an "
            f"earlier version and were not moved; {people_files.PROGRAM} {_PLACES} adopt NAME "
            "says why."
        )
