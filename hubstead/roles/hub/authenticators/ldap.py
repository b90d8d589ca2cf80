"""Login by an LDAP directory: OpenLDAP, Active Directory, FreeIPA, 389 Directory Server."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from hubstead import hub, parts, rules
from hubstead.operations import checks
from hubstead.parts import Authenticator
from hubstead.settings.accounts import AccountsSettings, check_provider
from hubstead.settings.jupyterhub import HubSettings
from hubstead.settings.model import Others, Settings
from hubstead.site import Site
from hubstead.texts import is_address, is_host_name, is_ldap_filter

_PASSWORD = "ldap-bind-password"


class LdapSettings(Settings):
    """Login by an LDAP directory; the secret is `hub_ldap_bind_password`."""

    prefixes = ("hub_ldap_",)

    hub_ldap_url: list[str] = Field(
        [],
        description="The directory's servers, by the names in their certificates: "
        "ldaps://ldap.example.org, or ldap:// with StartTLS. The next one is asked where one does "
        "not answer.",
    )
    hub_ldap_base: str | None = Field(
        None, description="Below which people are, such as ou=people,dc=example,dc=org."
    )
    hub_ldap_bind_dn: str | None = Field(
        None,
        description="The account that looks for people, at logins and again every minute. Without "
        "one that is anonymous, which the directory has to allow.",
    )
    hub_ldap_user_attribute: str = Field(
        "uid", description="What is somebody's name; with Active Directory sAMAccountName."
    )
    hub_ldap_filter: str | None = Field(
        None,
        description="What else holds for who may log in and stay (RFC 4515), such as "
        "(!(nsAccountLock=TRUE)). docs/accounts.md has it for each directory.",
    )
    hub_ldap_group_base: str | None = Field(
        None,
        description="Below which groups are: `hub_allowed_groups` has their `cn` then. Without it "
        "they are what the attribute memberOf of a person says, and have their whole names there.",
    )
    hub_ldap_group_filter: str = Field(
        "(|(member={dn})(uniqueMember={dn})(memberUid={name}))",
        description="What finds somebody's groups.",
    )

    @field_validator("hub_ldap_url")
    @classmethod
    def _servers(cls, value: list[str]) -> list[str]:
        for url in value:
            if not _is_server(url):
                raise ValueError(f"{url!r} is not a server such as ldaps://ldap.example.org")
        return [url.rstrip("/") for url in value]

    @field_validator("hub_ldap_base", "hub_ldap_group_base")
    @classmethod
    def _name(cls, value: str | None) -> str | None:
        if value is not None and not ("=" in value and value.isprintable()):
            raise ValueError("not a distinguished name such as ou=people,dc=example,dc=org")
        return value

    @field_validator("hub_ldap_user_attribute")
    @classmethod
    def _attribute(cls, value: str) -> str:
        if not re.fullmatch("[A-Za-z][A-Za-z0-9-]*", value):
            raise ValueError("not the name of an attribute")
        return value

    @field_validator("hub_ldap_filter")
    @classmethod
    def _filter(cls, value: str | None) -> str | None:
        if value is not None and not is_ldap_filter(value):
            raise ValueError("not a filter (RFC 4515), which is in brackets: (department=physics)")
        return value

    @field_validator("hub_ldap_group_filter")
    @classmethod
    def _group_filter(cls, value: str) -> str:
        if not is_ldap_filter(value) or not ("{dn}" in value or "{name}" in value):
            raise ValueError("not a filter (RFC 4515) with {dn} or {name}, such as (member={dn})")
        return value

    def check_beside(self, others: Others) -> None:
        needed = {"hub_ldap_url": self.hub_ldap_url, "hub_ldap_base": self.hub_ldap_base}
        check_provider(others, "ldap", needed)
        hub = others[HubSettings]
        groups = others[AccountsSettings].groups_of(hub, "ldap")
        short = [group for group in groups if "=" not in group]
        if "ldap" in hub.ways and short and not self.hub_ldap_group_base:
            raise ValueError(
                f"{short[0]!r} is a group by its `cn`, which anybody may have elsewhere: say where "
                "groups are by `hub_ldap_group_base`, or write its whole name"
            )


def _is_server(url: str) -> bool:
    try:
        where = urlsplit(url)
        name, port = where.hostname or "", where.port
    except ValueError:
        return False
    host = f"[{name}]" if ":" in name else name
    plain = f"{where.scheme}://{host}{f':{port}' if port else ''}"
    return (
        where.scheme in ("ldap", "ldaps")
        and (is_host_name(name) or is_address(name))
        and url.lower().rstrip("/") == plain
    )


def _configuration(site: Site) -> hub.Configuration:
    settings = site[LdapSettings]
    traits: dict[str, object] = {
        "urls": settings.hub_ldap_url,
        "base": settings.hub_ldap_base,
        "attribute": settings.hub_ldap_user_attribute,
        "filter": settings.hub_ldap_filter or "",
        "group_base": settings.hub_ldap_group_base or "",
        "group_filter": settings.hub_ldap_group_filter,
        "manage_groups": rules.asks_for_groups(site, "ldap"),
        "servers_network": parts.servers_network(site),
    }
    if settings.hub_ldap_bind_dn:
        traits["bind_dn"] = settings.hub_ldap_bind_dn
        traits["bind_password"] = hub.credential(_PASSWORD)
    return hub.Configuration(traits={"Ldap": traits})


def _credentials(site: Site) -> dict[str, str]:
    if not site[LdapSettings].hub_ldap_bind_dn:
        return {}
    return {_PASSWORD: site.secrets.brought("hub_ldap_bind_password")}


def _check(site: Site) -> checks.Check:
    settings = site[LdapSettings]
    password = f"{hub.CREDENTIALS}/{_PASSWORD}" if settings.hub_ldap_bind_dn else "/dev/null"
    return checks.Check(
        name="Look for people in the directory",
        part="The directory",
        script=f"""
            cd / && {hub.AS_ITSELF} /opt/hubstead/hub/current/bin/python -I \\
                -m hubstead_hub.directory {hub.SETTINGS} <{password}""",
        mend=f"Does this host reach {' or '.join(settings.hub_ldap_url)}, does it trust the "
        "certificate (`base_ca_certificates`), and are `hub_ldap_*` right?",
        tries=5,
        of="accounts",
    )


PART = Authenticator(
    authenticator_class="hubstead_hub.ldap.Ldap",
    configuration=_configuration,
    credentials=_credentials,
    lock="ldap",
    checks=lambda site: (_check(site),),
    grounds=lambda site: (checks.found(*site[LdapSettings].hub_ldap_url),),
)
