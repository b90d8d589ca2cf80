"""Login by the accounts of the hub host, which the Hub asks about through a helper that is root."""

from __future__ import annotations

from pyinfra.api.deploy import deploy

from hubstead import hub, parts, rules
from hubstead.notes import ROLES, claim
from hubstead.operations import checks, files, units
from hubstead.parts import Authenticator
from hubstead.render import render
from hubstead.site import Site

SOCKET_UNIT = "hubstead-pam.socket"
_SOCKET = "/run/hubstead-pam.sock"
_LISTENER, _SERVICE = (f"/etc/systemd/system/hubstead-pam{end}" for end in (".socket", "@.service"))
_RULES = "/etc/pam.d/hubstead"
#: A question for it about somebody whom it does not tell of
_NOBODYS = '{"look": "root"}'


@deploy("pam")
def pam(site: Site) -> None:
    claim(site, "pam")
    files.present(
        name="Write what asks PAM for the Hub",
        entries={
            _RULES: files.File(render("pam", _RULES)),
            _SERVICE: files.File(render("pam", _SERVICE)),
            _LISTENER: files.File(render("pam", _LISTENER, socket=_SOCKET, user=hub.USER)),
        },
    )
    units.running(name="Listen for the Hub", unit=SOCKET_UNIT)


@deploy("pam")
def absent(site: Site) -> None:
    units.stopped(name="Stop listening for the Hub", unit=SOCKET_UNIT)
    files.present(
        name="Remove what asked PAM",
        entries={_LISTENER: None, _SERVICE: None, _RULES: None, f"{ROLES}/pam": None},
    )


def _configuration(site: Site) -> hub.Configuration:
    return hub.Configuration(
        traits={
            "Pam": {
                "servers_network": parts.servers_network(site),
                "manage_groups": rules.asks_for_groups(site, "pam"),
            },
        }
    )


def _check(site: Site) -> checks.Check:
    return checks.Check(
        name="Ask what asks PAM, as the Hub does",
        part="The login by the host's accounts",
        script=f"{hub.AS_ITSELF} {checks.says(_SOCKET, _NOBODYS, 'null')}",
        mend=f"systemctl status {SOCKET_UNIT}; journalctl -u 'hubstead-pam@*'",
        of="accounts",
        units=(SOCKET_UNIT,),
    )


PART = Authenticator(
    authenticator_class="hubstead_hub.pam.Pam",
    configuration=_configuration,
    deploy=pam,
    units=lambda site: (SOCKET_UNIT,),
    absent=absent,
    checks=lambda site: (_check(site),),
)
