"""Base: packages, time zone, certificate authorities, mirrors, security upgrades, sshd."""

from __future__ import annotations

from pyinfra import logger
from pyinfra.api.deploy import deploy
from pyinfra.context import host

from hubstead.operations import certificates, files, packages, units
from hubstead.operations.addresses import AnswerForNobody
from hubstead.operations.login import Login, PasswordLogins
from hubstead.render import render
from hubstead.settings.base import BaseSettings
from hubstead.site import Site

_SSHD = "/etc/ssh/sshd_config.d/10-hubstead.conf"


def _root_login(user: str) -> str:
    return "prohibit-password" if user == "root" else "no"


@deploy("base")
def base(site: Site) -> None:
    settings = site[BaseSettings]
    login = host.get_fact(Login, _sudo=False)
    if site.machine.bare and (answer := host.get_fact(AnswerForNobody)):
        logger.warning(
            f"{host.name}: the DNS there has the address {answer} for a name that does not exist. "
            "A mistyped name leads there, too; where packages cannot be fetched, look at "
            "/etc/resolv.conf first."
        )
    # whoever comes in by password today must still come in tomorrow
    ssh_passwords = settings.base_ssh_passwords or not login.has_keys
    if login.over_ssh and not ssh_passwords and (names := host.get_fact(PasswordLogins)):
        logger.warning(
            f"{host.name}: sshd takes keys alone from this run on, and {', '.join(names)} came in "
            "by a password so far, and has no keys. To leave that as it was: `base_ssh_passwords` "
            "= True."
        )

    if settings.base_apt_mirror:
        files.present(
            name="Point apt at the mirror",
            entries={
                "/etc/apt/sources.list": files.File("# see sources.list.d/debian.sources\n"),
                "/etc/apt/sources.list.d/debian.sources": files.File(
                    render(
                        "base",
                        "/etc/apt/sources.list.d/debian.sources",
                        mirror=settings.base_apt_mirror,
                        security_mirror=settings.base_apt_security_mirror,
                        codename=site.machine.codename,
                    )
                ),
            },
        )
    files.present(
        # first, or what the package writes there passes for the owner's
        name="Say whether security upgrades come by themselves",
        entries={
            "/etc/apt/apt.conf.d/20auto-upgrades": files.File(
                render(
                    "base",
                    "/etc/apt/apt.conf.d/20auto-upgrades",
                    enabled=int(settings.base_security_upgrades),
                )
            ),
        },
    )
    packages.installed(
        name="Install the base packages",
        packages=[
            *site.distribution.base_packages,
            *settings.base_packages,
        ],
    )
    if settings.base_timezone:
        files.present(
            name="Set the time zone",
            entries={
                "/etc/localtime": files.Link(f"/usr/share/zoneinfo/{settings.base_timezone}"),
                "/etc/timezone": files.File(f"{settings.base_timezone}\n"),
            },
        )
    files.present(
        name="Write the host's configuration",
        entries={
            "/etc/hubstead": files.Directory(),
            "/opt/hubstead": files.Directory(),
            "/var/lib/hubstead": files.Directory(),
        },
    )
    certificates.trusted(
        name="Trust the organisation's certificates",
        authorities={path.stem: path.read_bytes() for path in settings.base_ca_certificates},
    )

    if login.over_ssh:
        files.present(
            name="Write sshd's rules",
            entries={
                _SSHD: files.File(
                    render(
                        "base",
                        _SSHD,
                        passwords="yes" if ssh_passwords else "no",
                        root_login=_root_login(login.user),
                    )
                )
            },
        )
        units.running(
            name="Run sshd with them",
            unit=site.distribution.ssh_unit,
            reload_inputs=[_SSHD],
            packaged=True,
        )


@deploy("base")
def absent(site: Site) -> None:
    """Remove sshd's rules, and all files of ours; packages stay, and their upgrades."""
    files.present(name="Remove sshd's rules", entries={_SSHD: None})
    if site.here.host.get_fact(Login, _sudo=False).over_ssh:
        units.running(
            name="Run sshd without them",
            unit=site.distribution.ssh_unit,
            reload_inputs=[_SSHD.rpartition("/")[0]],
            packaged=True,
        )
    certificates.trusted(name="Trust the host's own authorities alone", authorities={})
    files.present(
        name="Remove the host's configuration",
        entries={"/etc/hubstead": None, "/opt/hubstead": None, "/usr/local/lib/hubstead": None},
    )
