"""The same Hub with people of the users table and of two providers, all at once."""

import os
from importlib import resources
from pathlib import Path
from typing import Any

from hubstead_hub import may_stay
from hubstead_hub.several import Several

here: Any = globals()
here["load_subconfig"](str(Path(here["__file__"]).with_name("maker_config.py")))
c: Any = here["get_config"]()
hub, oidc, github = (os.environ[f"TEST_{name}"] for name in ("HUB_URL", "OIDC", "GITHUB"))
c.JupyterHub.authenticator_class = Several
c.JupyterHub.template_paths.append(str(resources.files("hubstead_hub") / "several_templates"))
c.CryptKeeper.keys = ["0f" * 32]
# as an owner's lines might have it, for one way
c.Authenticator.auto_login = True
c.Several.ways = [
    ("users-table", "hubstead_hub.authenticator.UsersTableAuthenticator"),
    ("oidc", "hubstead_hub.oauth.OpenIDConnect"),
    ("github", "hubstead_hub.oauth.GitHub"),
]
for section, name, url in ((c.OpenIDConnect, "oidc", oidc), (c.GitHub, "github", github)):
    section.client_id = "hub"
    section.client_secret = "the secret of the client"
    section.oauth_callback_url = f"{hub}/hub/{name}/oauth_callback"
    section.authorize_url = f"{url}/authorize"
    section.token_url = f"{url}/token"
    section.userdata_url = f"{url}/userinfo"
c.OpenIDConnect.issuer = oidc
c.OpenIDConnect.login_service = "Campus"
c.OpenIDConnect.end_session_url = f"{oidc}/end"
c.OpenIDConnect.username_claim = "preferred_username"
c.OpenIDConnect.manage_groups = True
c.OpenIDConnect.auth_state_groups_key = "oauth_user.groups"
may_stay.FRESH = may_stay.PAUSE = 1
