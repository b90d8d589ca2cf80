"""No login: people come with tokens, which a service of `hub_service_accounts` makes for them."""

from __future__ import annotations

from hubstead import hub
from hubstead.parts import Authenticator

# nobody to ask: there are no checks
PART = Authenticator(
    authenticator_class="hubstead_hub.token.TokenOnly",
    configuration=lambda site: hub.Configuration({}),
    page=(403, "There is no login here"),
)
