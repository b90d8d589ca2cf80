"""Guide: a made-up proxy, as somebody would add one."""

from __future__ import annotations

from pyinfra.api.deploy import deploy

from hubstead import hub, secrets
from hubstead.notes import ROLES, claim
from hubstead.operations import checks, files, units
from hubstead.parts import Proxy
from hubstead.ports import refuse_taken_ports
from hubstead.site import Site

UNIT = "guide.service"
API_PORT = 4243
_FILE = f"/etc/systemd/system/{UNIT}"


@deploy("guide")
def guide(site: Site) -> None:
    refuse_taken_ports(site, "guide")
    claim(site, "guide")
    files.present(name="Write the guide's unit", entries={_FILE: files.File("[Service]\n")})
    units.running(name="Run the guide", unit=UNIT)


@deploy("guide")
def absent(site: Site) -> None:
    units.stopped(name="Stop the guide", unit=UNIT)
    files.present(name="Remove the guide", entries={_FILE: None, f"{ROLES}/guide": None})


def _check(site: Site) -> checks.Check:
    request = f"http://127.0.0.1:{API_PORT}/"
    return checks.Check(
        name="Ask the guide",
        part="The guide",
        script=checks.answers(request, 200),
        mend=UNIT,
        of="proxy",
        units=(UNIT,),
    )


PART = Proxy(
    unit=UNIT,
    user="guide",
    api_port=API_PORT,
    configuration=lambda site: hub.Configuration(
        traits={"JupyterHub": {"proxy_class": "guide"}, "Guide": {"key": hub.credential("guide")}}
    ),
    credentials=lambda site: {"guide": site.secrets.generated("guide_key", secrets.TOKEN)},
    deploy=guide,
    units=lambda site: (UNIT,),
    lifts=("# it draws maps", "PrivateDevices=no"),
    absent=absent,
    checks=lambda site: (_check(site),),
)
