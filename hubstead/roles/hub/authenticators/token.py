"""No login: people come with tokens, which a service of `hub_service_accounts` makes for them."""

from __future__ import annotations

from hubstead import hub
from hubstead.parts import Authenticator
from hubstead.site import Site


def _configuration(site: Site) -> hub.Configuration:
    return hub.Configuration(
        traits={"JupyterHub": {"authenticator_class": "hubstead_hub.token.TokenOnly"}}
    )


# nobody to ask: there are no checks
PART = Authenticator(configuration=_configuration, page=(403, "There is no login here"))
