"""TLS: the host's own authority and its certificate, and where the public certificate comes from.

Each host has an authority of its own, whose key never leaves it. What the hosts of an inventory say
to each other is verified with it, and with `tls` = internal it vouches for the service as well.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import ClassVar, Literal, cast
from urllib.parse import urlsplit

from pydantic import Field, field_validator
from pyinfra import logger
from pyinfra.api.deploy import deploy
from pyinfra.api.host import Host
from pyinfra.context import ctx_host, host

from hubstead import pem
from hubstead.operations import accounts, files, internal_ca, pairs, units
from hubstead.operations import trust as certificates
from hubstead.programs import program
from hubstead.progress import summarise
from hubstead.render import render
from hubstead.roles import edge, former
from hubstead.roles.base import address
from hubstead.settings import Others, Settings, SettingsError, load
from hubstead.texts import URL_CHARACTERS, is_email, is_url
from hubstead.topology import plays, tier_host

#: Reads the keys: the users of what serves TLS are in it
GROUP = "hubstead-tls"
#: The certificate from the host's own authority, and the one from elsewhere: each directory has
#: fullchain.pem, key.pem and hooks/, scripts that run when the certificate was renewed
INTERNAL, PUBLIC = "/etc/hubstead/tls", "/etc/hubstead/certificate"
#: Roots of the other hosts' authorities
TRUST = "/etc/hubstead/trust"
#: Where certbot answers the challenges of an ACME server (RFC 8555, 8.3), on loopback: a port that
#: root alone can take, and that nobody has (IANA)
CHALLENGE_PORT = 8
#: What is asked of an ACME server, for the script that asks
WANTED = f"{PUBLIC}/wanted.json"
#: Says in one or two lines why an ACME server gave no certificate
REASON = "/usr/local/lib/hubstead/acme-reason"
COMMAND = "/usr/local/sbin/hubstead-certificate"
#: Tells that command what gets the certificate
WAY = f"{INTERNAL}/way"
LETS_ENCRYPT = "https://acme-v02.api.letsencrypt.org/directory"
STAGING = "https://acme-staging-v02.api.letsencrypt.org/directory"


class TlsSettings(Settings):
    """Certificates."""

    prefixes = ("tls_",)
    everywhere = ("tls",)
    removed: ClassVar[dict[str, str]] = {
        "tls_acme_lifetime": "certbot sees for itself how long a certificate is valid"
    }

    tls: Literal["internal", "acme", "files"] = Field(
        "internal",
        description="Where the certificate comes from. internal: an authority of its own, made "
        "once on the host that faces the internet, whose root certificate people have to trust; "
        "acme: Let's Encrypt, or another ACME server; files: you bring it.",
    )
    tls_certificate: Path | None = Field(
        None,
        description="PEM file on the control machine, for files: the certificate, and after it "
        "those that signed it.",
    )
    tls_key: Path | None = Field(None, description="PEM file there with its key, not encrypted.")
    tls_acme_directory: str | None = Field(
        None, description="URL of an ACME server's directory; by default Let's Encrypt's."
    )
    tls_acme_staging: bool = Field(
        False,
        description="Ask Let's Encrypt's staging server, whose certificates nobody trusts, and "
        "whose rate limits are generous: to try things out.",
    )
    tls_acme_email: str | None = Field(
        None,
        description="Address that is given to the ACME server, for its warnings.",
    )
    tls_acme_key_type: Literal["ec256", "ec384", "rsa2048", "rsa4096"] = Field(
        "ec256", description="Kind of the key: an elliptic curve, or RSA."
    )
    tls_expiry_days: int = Field(
        14,
        ge=1,
        description="Days before the end of a certificate at which the alarm begins. Renewal comes "
        "long before: something is wrong with it.",
    )

    @field_validator("tls_acme_directory")
    @classmethod
    def _directory(cls, value: str | None) -> str | None:
        if value is None:
            return value
        if not is_url(value, "https") or "@" in urlsplit(value).netloc:
            raise ValueError(
                f"not the URL of a directory, such as {LETS_ENCRYPT}, {URL_CHARACTERS}"
            )
        return value

    @field_validator("tls_acme_email")
    @classmethod
    def _email(cls, value: str | None) -> str | None:
        if value is not None and not is_email(value):
            raise ValueError("not an address such as ada@example.org")
        return value

    @property
    def directory_url(self) -> str:
        """The directory of the ACME server (RFC 8555, 7.1.1)."""
        return self.tls_acme_directory or (STAGING if self.tls_acme_staging else LETS_ENCRYPT)

    def check(self) -> None:
        if self.tls_acme_staging and self.tls_acme_directory:
            raise ValueError(
                "`tls_acme_staging` is Let's Encrypt's, and `tls_acme_directory` names a server: "
                "remove one of them"
            )
        if self.tls == "files":
            self.chain()

    def check_beside(self, others: Others) -> None:
        if self.tls != "internal" and not others[edge.EdgeSettings].edge_site:
            raise ValueError(
                f"`tls` = {self.tls!r} is for a site of ours, and with `edge_site` = False the "
                "site and its certificate are yours: remove `tls`"
            )

    def chain(self) -> pem.Chain:
        """The certificate of `tls` = files. Raises ValueError for one that will not do."""
        texts = {}
        for key in ("tls_certificate", "tls_key"):
            path: Path | None = getattr(self, key)
            if path is None:
                raise ValueError(f"`tls` = 'files' needs `{key}`, the path of a PEM file here")
            try:
                texts[key] = path.read_bytes()
            except OSError as error:
                raise ValueError(f"`{key}` = {path}: cannot be read: {error.strerror}") from None
        try:
            chain = pem.chain(texts["tls_certificate"])
            pem.check_dates(chain)
        except ValueError as error:
            raise ValueError(f"`tls_certificate` = {self.tls_certificate}: {error}") from None
        try:
            pem.check_key(texts["tls_key"], chain)
        except ValueError as error:
            raise ValueError(f"`tls_key` = {self.tls_key}: {error}") from None
        return chain


def internal_names() -> list[str]:
    """The names in the internal certificate of the host at hand, the main one first."""
    names = edge.names() if edge.is_front() else []
    if plays("hub") and load(edge.EdgeSettings).edge != "none":
        names.append(edge.proxy_address())
    if plays("db") and not plays("hub"):
        names.append(address(tier_host("db")))
    return list(dict.fromkeys(names)) or [address(tier_host("hub"))]


def permitted() -> list[str]:
    """Names for which the authority of the host at hand may vouch, and for what lies below them.

    Those of its certificate, and others that another choice of front, or another host of the
    inventory, adds to it: people need no new root for that.
    """
    names = internal_names()
    if plays("hub"):
        names.append("localhost")
    here = address(cast(Host, ctx_host.get()))
    # a connector of pyinfra's is no name
    return list(dict.fromkeys([*names, *([] if here.startswith("@") else [here])]))


def _foretell_root() -> None:
    """Say what people have to do about the root that they trust, before it is another."""
    path = f"{INTERNAL}/ca.pem"
    root = host.get_fact(certificates.Certificates, path).get(path, "").encode()
    if not root or public_directory() != INTERNAL or not edge.is_front():
        return
    try:
        outside = pem.outside(root, internal_names())
    except ValueError:
        return
    if outside is None:
        logger.warning(
            f"{host.name}: the root certificate of its authority may vouch for any site. This run "
            f"limits it to {', '.join(permitted())}, and what lies below. Who trusts the old one "
            f"gets in as before: have people trust {path} in its place, and remove the old one."
        )
    elif outside:
        logger.warning(
            f"{host.name}: the root certificate of its authority cannot vouch for "
            f"{', '.join(outside)}. This run makes a new one: people are warned by their browsers "
            f"until they trust {path} anew."
        )


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


def challenges() -> str | None:
    """What the front passes an ACME server's challenges on to; None where there will be none."""
    acme = load(TlsSettings).tls == "acme"
    return f"http://127.0.0.1:{CHALLENGE_PORT}" if acme else None


def _wanted() -> str:
    settings = load(TlsSettings)
    wanted = {
        "names": edge.names(),
        "directory": settings.directory_url,
        "email": settings.tls_acme_email,
        "key_type": settings.tls_acme_key_type,
        "http_port": load(edge.EdgeSettings).edge_http_port,
        "challenge_port": CHALLENGE_PORT,
    }
    return json.dumps(wanted, indent=2) + "\n"


def _refuse_unfit_names(settings: TlsSettings) -> None:
    """Raises SettingsError for names that no ACME server certifies, or that a file lacks."""
    if settings.tls == "acme":
        for name in edge.names():
            if "." not in name or name.rpartition(".")[2].isdigit():
                raise SettingsError(
                    f"{name}: no ACME server certifies that, it is no name of the internet. Set "
                    '`hub_names` to one such as ["hub.example.org"], or `tls` to "internal".'
                )
    if settings.tls == "files":
        chain = settings.chain()
        missing = chain.missing(edge.names())
        if missing:
            raise SettingsError(
                f"`tls_certificate` = {settings.tls_certificate}: it is not for "
                f"{', '.join(missing)}. Have one issued for all of `hub_names`, or remove the name "
                "there."
            )
        end = chain.leaf.not_valid_after_utc
        if end - datetime.now(UTC) < timedelta(days=settings.tls_expiry_days):
            logger.warning(f"`tls_certificate` ends on {end:%F}: have it renewed, then run again.")


@deploy("tls")
def tls() -> None:
    settings = load(TlsSettings)
    _refuse_unfit_names(settings)
    _foretell_root()
    own_units = [
        f"/etc/systemd/system/{unit}.{suffix}"
        for unit in ("hubstead-certificate", pairs.HOOKS)
        for suffix in ("service", "timer")
    ]

    accounts.system_group(name="Create the group hubstead-tls", group=GROUP)
    files.present(
        name="Write what issues the host's certificate",
        entries={
            former.WEBROOT: None,
            INTERNAL: files.Directory(),
            f"{INTERNAL}/hooks": files.Directory(),
            f"{INTERNAL}/names": files.File("".join(f"{name}\n" for name in internal_names())),
            f"{INTERNAL}/permitted": files.File("".join(f"{name}\n" for name in permitted())),
            "/usr/local/lib/hubstead": files.Directory(),
            pairs.INSTALL: files.File(program("install-certificate.sh"), mode="755"),
            pairs.TELL: files.File(program("certificate-hooks.sh"), mode="755"),
            internal_ca.SCRIPT: files.File(program("internal-certificate.sh"), mode="755"),
            WAY: files.File(f"{settings.tls if edge.is_front() else 'internal'}\n"),
            COMMAND: files.File(program("hubstead-certificate.sh"), mode="755"),
            **{path: files.File(render("tls", path)) for path in own_units},
        },
    )
    units.running(name="Try hooks again that fail", unit=f"{pairs.HOOKS}.timer")
    internal_ca.issued(name="Issue the certificate")
    units.running(name="Renew it in time", unit="hubstead-certificate.timer")
    if settings.tls != "internal" and edge.is_front():
        _public(settings)


def _public(settings: TlsSettings) -> None:
    acme = settings.tls == "acme"
    files.present(
        name="Make room for the certificate from elsewhere",
        entries={
            PUBLIC: files.Directory(),
            f"{PUBLIC}/hooks": files.Directory(),
            WANTED: files.File(_wanted()) if acme else None,
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
def tls_settled() -> None:
    """Remove what no server reads any more, now that all of them run as the settings say.

    A step of deploys/all.py, and not of the role alone: a server that has not changed over yet
    would be left without its certificate.
    """
    if public_directory() == INTERNAL and edge.is_front():
        summarise(f"Root certificate to trust: {INTERNAL}/ca.pem on {edge.front_host().name}")
    if public_directory() == INTERNAL or not edge.is_front():
        files.present(
            name="Remove the certificate from elsewhere", entries={PUBLIC: None, REASON: None}
        )
    else:
        settings = load(edge.EdgeSettings)
        front = settings.proxy if settings.edge == "none" else settings.edge
        others = {"traefik", "chp", "nginx", "apache"} - {front}
        files.present(
            name="Have each certificate read by who serves it",
            entries={
                f"{INTERNAL}/hooks/{front}": None,
                **{f"{PUBLIC}/hooks/{other}": None for other in sorted(others)},
            },
        )
    pairs.hooks_tried(name="Run hooks again that failed", directories=[INTERNAL, PUBLIC])


@deploy("trust")
def trust() -> None:
    """Behind a barrier: every host has its authority by now."""
    certificates.learnt(
        name="Learn the authority of the host that it asks",
        directory=TRUST,
        of={_file(of): of for of in _asked()},
        source=f"{INTERNAL}/ca.pem",
    )
