"""TLS: the host's own authority and its certificate, and where the public certificate comes from.

Each host has an authority of its own, whose key never leaves it. What the hosts of an inventory say
to each other is verified with it, and with `tls` = internal it vouches for the service as well.
"""

from __future__ import annotations

from typing import Literal, cast

from pydantic import Field
from pyinfra.api.deploy import deploy
from pyinfra.api.host import Host
from pyinfra.context import ctx_host

from hubstead.operations import accounts, files, internal_ca, units
from hubstead.operations import trust as certificates
from hubstead.render import render
from hubstead.roles import edge
from hubstead.roles.base import address
from hubstead.settings import Settings, load
from hubstead.topology import plays, tier_host

#: Reads the keys: the users of what serves TLS are in it
GROUP = "hubstead-tls"
#: The certificate from the host's own authority, and the one from elsewhere: each directory has
#: fullchain.pem, key.pem and hooks/, scripts that run when the certificate was renewed
INTERNAL, PUBLIC = "/etc/hubstead/tls", "/etc/hubstead/certificate"
#: Roots of the other hosts' authorities
TRUST = "/etc/hubstead/trust"
#: Answers to the challenges of ACME servers (RFC 8555, 8.3), for what serves port 80
WEBROOT = "/var/lib/hubstead/acme"
#: Puts a certificate and its key into one of the directories
INSTALL = "/usr/local/lib/hubstead/install-certificate"


class TlsSettings(Settings):
    """Certificates."""

    prefixes = ("tls_",)
    everywhere = ("tls",)

    tls: Literal["internal"] = Field(
        "internal",
        description="Where the certificate comes from; internal: an authority of its own, made "
        "once on the host that faces the internet, whose root certificate people have to trust.",
    )


def internal_names() -> list[str]:
    """The names in the internal certificate of the host at hand, the main one first."""
    names = edge.names() if edge.is_front() else []
    if plays("hub") and load(edge.EdgeSettings).edge != "none":
        names.append(edge.proxy_address())
    if plays("db") and not plays("hub"):
        names.append(address(tier_host("db")))
    return list(dict.fromkeys(names)) or [address(tier_host("hub"))]


def public_directory() -> str:
    """Where the certificate that people see lies on the front."""
    return INTERNAL if load(TlsSettings).tls == "internal" else PUBLIC


def root_of(of: Host) -> str:
    """Where the host at hand has the root certificate of a host's authority."""
    return f"{INTERNAL}/ca.pem" if of is cast(Host, ctx_host.get()) else f"{TRUST}/{_file(of)}"


def _file(of: Host) -> str:
    return f"{of.name.rpartition('/')[2]}.pem"


def _asked() -> list[Host]:
    """The other hosts to which the one at hand connects over TLS."""
    asked = [tier_host("db")] if plays("hub") else []
    asked += [tier_host("hub")] if plays("edge") else []
    return [of for of in asked if of is not cast(Host, ctx_host.get())]


@deploy("tls")
def tls() -> None:
    load(TlsSettings)
    service, timer = (
        f"/etc/systemd/system/hubstead-certificate.{suffix}" for suffix in ("service", "timer")
    )

    accounts.system_group(name="Create the group hubstead-tls", group=GROUP)
    files.present(
        name="Write what issues the host's certificate",
        entries={
            INTERNAL: files.Directory(),
            f"{INTERNAL}/hooks": files.Directory(),
            f"{INTERNAL}/names": files.File("".join(f"{name}\n" for name in internal_names())),
            "/usr/local/lib/hubstead": files.Directory(),
            INSTALL: files.File(render("tls", INSTALL, group=GROUP), mode="755"),
            internal_ca.SCRIPT: files.File(render("tls", internal_ca.SCRIPT), mode="755"),
            service: files.File(render("tls", service)),
            timer: files.File(render("tls", timer)),
        },
    )
    internal_ca.issued(name="Issue the certificate")
    units.running(name="Renew it in time", unit="hubstead-certificate.timer")


@deploy("trust")
def trust() -> None:
    """Behind a barrier: every host has its authority by now."""
    certificates.learnt(
        name="Learn the authority of the host that it asks",
        directory=TRUST,
        of={_file(of): of for of in _asked()},
        source=f"{INTERNAL}/ca.pem",
    )
