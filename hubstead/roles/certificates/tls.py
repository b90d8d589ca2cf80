"""TLS: the host's own authority, its certificate, and where the public certificate comes from."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

from pyinfra import logger
from pyinfra.api.deploy import deploy
from pyinfra.context import host

from hubstead import dns, parts, pem
from hubstead.certificates import (
    DNS_CREDENTIALS,
    GROUP,
    INTERNAL,
    PUBLIC,
    TRUST,
    WEBROOT,
    internal_names,
    permitted,
    public_directory,
    root_file,
)
from hubstead.listeners import CHALLENGE_PORT
from hubstead.operations import accounts, files, internal_ca, pairs, units
from hubstead.operations import trust as authorities
from hubstead.programs import program
from hubstead.progress import summarise
from hubstead.render import render
from hubstead.settings.edge import EdgeSettings
from hubstead.settings.model import SettingsError
from hubstead.settings.tls import TlsSettings
from hubstead.site import Member, Site

#: What is asked of an ACME server, for the script that asks
WANTED = f"{PUBLIC}/wanted.json"
#: Says in one or two lines why an ACME server gave no certificate
REASON = "/usr/local/lib/hubstead/acme-reason"
COMMAND = "/usr/local/sbin/hubstead-certificate"
#: Tells that command what gets the certificate
WAY = f"{INTERNAL}/way"
_UNITS = [
    f"/etc/systemd/system/{unit}.{suffix}"
    for unit in ("hubstead-certificate", pairs.HOOKS)
    for suffix in ("service", "timer")
]


def _asked(site: Site) -> list[Member]:
    """The other hosts to which the one at hand connects over TLS."""
    asked = [site.db] if site.plays("hub") else []
    asked += [site.hub] if site.plays("edge") else []
    return [of for of in asked if of != site.here]


def _foretell_root(site: Site) -> None:
    """Say what people have to do about the root that they trust, before it is another."""
    path = f"{INTERNAL}/ca.pem"
    root = host.get_fact(authorities.Certificates, path).get(path, "").encode()
    if not root or public_directory(site) != INTERNAL or not site.plays("edge"):
        return
    try:
        outside = pem.outside(root, internal_names(site))
    except ValueError:
        return
    if outside is None:
        logger.warning(
            f"{host.name}: the root certificate of its authority may vouch for any site. This run "
            f"limits it to {', '.join(permitted(site))}, and what lies below. Who trusts the old "
            f"one gets in as before: have people trust {path} in its place, and remove the old one."
        )
    elif outside:
        logger.warning(
            f"{host.name}: the root certificate of its authority cannot vouch for "
            f"{', '.join(outside)}. This run makes a new one: people are warned by their browsers "
            f"until they trust {path} anew."
        )


def _dns(settings: TlsSettings) -> dict[str, str | int] | None:
    """How certbot answers in the DNS, for the script that asks."""
    if settings.tls_acme_dns is None:
        return None
    wait = settings.tls_acme_dns_wait
    return {
        "plugin": f"dns-{settings.tls_acme_dns}",
        "credentials": DNS_CREDENTIALS,
        "wait": dns.PLUGINS[settings.tls_acme_dns].wait if wait is None else wait,
    }


def _wanted(site: Site) -> str:
    settings = site[TlsSettings]
    wanted = {
        "names": site.every_name,
        "directory": settings.directory_url,
        "email": settings.tls_acme_email,
        "key_type": settings.tls_acme_key_type,
        "http_port": site[EdgeSettings].edge_http_port,
        "challenge_port": CHALLENGE_PORT,
        "dns": _dns(settings),
    }
    return json.dumps(wanted, indent=2) + "\n"


def _refuse_unfit_names(site: Site) -> None:
    """Raises SettingsError for names that no ACME server certifies, or that a file lacks."""
    settings = site[TlsSettings]
    if settings.tls == "acme":
        for name in site.every_name:
            if "." not in name or name.rpartition(".")[2].isdigit():
                raise SettingsError(
                    f"{name}: no ACME server certifies that, it is no name of the internet. Set "
                    '`hub_names` to one such as ["hub.example.org"], or `tls` to "internal".'
                )
    if settings.tls == "files":
        chain = settings.chain()
        missing = chain.missing(site.every_name)
        if missing:
            raise SettingsError(
                f"`tls_certificate` = {settings.tls_certificate}: it is not for "
                f"{', '.join(missing)}. Have one issued for all of {', '.join(site.every_name)}, "
                "or change `hub_names` and the names of people's servers (docs/apart.md)."
            )
        end = chain.leaf.not_valid_after_utc
        if end - datetime.now(UTC) < timedelta(days=settings.tls_expiry_days):
            logger.warning(f"`tls_certificate` ends on {end:%F}: have it renewed, then run again.")


@deploy("tls")
def tls(site: Site) -> None:
    settings = site[TlsSettings]
    _refuse_unfit_names(site)
    _foretell_root(site)
    way = settings.tls if site.plays("edge") else "internal"
    accounts.system_group(name="Create the group hubstead-tls", group=GROUP)
    files.present(
        name="Write what issues the host's certificate",
        entries={
            WEBROOT: None,
            INTERNAL: files.Directory(),
            f"{INTERNAL}/hooks": files.Directory(),
            f"{INTERNAL}/names": files.File("".join(f"{name}\n" for name in internal_names(site))),
            f"{INTERNAL}/permitted": files.File("".join(f"{name}\n" for name in permitted(site))),
            "/usr/local/lib/hubstead": files.Directory(),
            pairs.INSTALL: files.File(program("install-certificate.sh"), mode="755"),
            pairs.TELL: files.File(program("certificate-hooks.sh"), mode="755"),
            internal_ca.SCRIPT: files.File(program("internal-certificate.sh"), mode="755"),
            WAY: files.File(f"{way}\n"),
            COMMAND: files.File(program("hubstead-certificate.sh"), mode="755"),
            **{path: files.File(render("tls", path)) for path in _UNITS},
        },
    )
    units.running(name="Try hooks again that fail", unit=f"{pairs.HOOKS}.timer")
    internal_ca.issued(name="Issue the certificate")
    units.running(name="Renew it in time", unit="hubstead-certificate.timer")
    if settings.tls != "internal" and site.plays("edge"):
        _public(site)


def _public(site: Site) -> None:
    settings = site[TlsSettings]
    acme = settings.tls == "acme"
    files.present(
        name="Make room for the certificate from elsewhere",
        entries={
            PUBLIC: files.Directory(),
            f"{PUBLIC}/hooks": files.Directory(),
            WANTED: files.File(_wanted(site)) if acme else None,
            REASON: files.File(program("acme_reason.py"), mode="755") if acme else None,
        },
    )
    if settings.tls_certificate and settings.tls_key and not acme:
        pairs.installed(
            name="Install the certificate",
            directory=PUBLIC,
            fullchain=files.File(settings.tls_certificate.read_bytes()),
            key=files.File(settings.tls_key.read_bytes()),
        )
    else:
        pairs.begun(name="Begin with the host's own certificate", directory=PUBLIC, source=INTERNAL)


@deploy("settled")
def tls_settled(site: Site) -> None:
    """Remove what no server reads any more, now that all of them run as the settings say.

    A step of deploys/all.py, and not of the role alone: a server that has not changed over yet
    would be left without its certificate.
    """
    if public_directory(site) == INTERNAL and site.plays("edge"):
        summarise(f"Root certificate to trust: {INTERNAL}/ca.pem on {site.edge.name}")
    if public_directory(site) == INTERNAL or not site.plays("edge"):
        files.present(
            name="Remove the certificate from elsewhere", entries={PUBLIC: None, REASON: None}
        )
    else:
        others = {*parts.proxies(), *site.distribution.edges} - {site.front}
        files.present(
            name="Have each certificate read by who serves it",
            entries={
                f"{INTERNAL}/hooks/{site.front}": None,
                **{f"{PUBLIC}/hooks/{other}": None for other in sorted(others)},
            },
        )
    pairs.hooks_tried(name="Run hooks again that failed", directories=[INTERNAL, PUBLIC])


@deploy("trust")
def trust(site: Site) -> None:
    """Behind a barrier: every host has its authority by now."""
    authorities.learnt(
        name="Learn the authority of the host that it asks",
        directory=TRUST,
        of={root_file(of): of.host for of in _asked(site)},
        source=f"{INTERNAL}/ca.pem",
    )


@deploy("tls")
def absent() -> None:
    """Remove what issues certificates, and who may read their keys."""
    for path in reversed(_UNITS):
        unit = path.rpartition("/")[2]
        units.stopped(name=f"Stop {unit}", unit=unit)
    files.present(
        name="Remove what issued certificates", entries=dict.fromkeys([COMMAND, *_UNITS], None)
    )
    accounts.group_absent(name="Remove the group hubstead-tls", group=GROUP)
