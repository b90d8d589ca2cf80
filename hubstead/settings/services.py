"""Settings of other programs that use the Hub's API."""

from __future__ import annotations

import re
from pathlib import Path

from pydantic import Field, field_validator

from hubstead.settings.jupyterhub import HubSettings
from hubstead.settings.model import Others, Settings

#: Those of the Hub's release, a line each; `make locks` writes them
SCOPES = tuple((Path(__file__).parents[2] / "locks/hub.scopes").read_text().split())
_SERVICE = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_FILTER = re.compile(r"(user|server|group|service)(=[^!\s]+)?")
#: Services of ours
_TAKEN = {"metrics", "idle-culler"}


def _problem(scope: str) -> str | None:
    """Why it is no scope of JupyterHub's ("Scopes in JupyterHub"); None where it is one."""
    name, mark, narrowed = scope.partition("!")
    if name not in SCOPES:
        return "no scope of JupyterHub's has that name"
    if mark and not _FILTER.fullmatch(narrowed):
        return "what follows ! is user, group, server or service, and = with a name"
    return None


class ServicesSettings(Settings):
    """Other programs that use the Hub's API, each by a token of its own."""

    prefixes = ("hub_service_",)

    hub_service_accounts: dict[str, list[str]] = Field(
        {},
        description="Other programs, and what each may do, by scopes of JupyterHub's: "
        '{"portal": ["admin:users", "admin:servers", "tokens"]}. The token of each is the secret '
        "`hub_service_NAME_token` (docs/api.md).",
    )

    @field_validator("hub_service_accounts")
    @classmethod
    def _known(cls, value: dict[str, list[str]]) -> dict[str, list[str]]:
        for name, scopes in value.items():
            if not _SERVICE.fullmatch(name) or len(name) > 40:
                raise ValueError(
                    f"{name!r} is no name of a service: lower-case letters, digits, hyphens inside"
                )
            if name in _TAKEN:
                raise ValueError(f"{name!r} is a service of Hubstead's own: take another name")
            if not scopes:
                raise ValueError(f"{name!r} may do nothing: give it scopes, or take it out")
            for scope in scopes:
                if problem := _problem(scope):
                    raise ValueError(f"{name!r} has the scope {scope!r}: {problem}")
        return value

    def check_beside(self, others: Others) -> None:
        if others[HubSettings].ways == ("token",) and not self.hub_service_accounts:
            raise ValueError(
                f"{others[HubSettings].choice('token')} lets nobody in without a program that "
                "makes people and their tokens: name it in `hub_service_accounts`"
            )


def secret_of(service: str) -> str:
    """The name of the secret that is a service's token."""
    return f"hub_service_{service.replace('-', '_')}_token"
