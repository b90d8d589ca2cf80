"""The same Hub with people of a provider; values come from the environment."""

import os
from pathlib import Path
from typing import Any

from hubstead_hub import may_stay
from hubstead_hub.oauth import OpenIDConnect

here: Any = globals()
here["load_subconfig"](str(Path(here["__file__"]).with_name("maker_config.py")))
c: Any = here["get_config"]()
provider = os.environ["TEST_PROVIDER"]
c.JupyterHub.authenticator_class = OpenIDConnect
c.JupyterHub.template_paths = [path for path in c.JupyterHub.template_paths if "table" not in path]
c.CryptKeeper.keys = ["0f" * 32]
c.OpenIDConnect.issuer = provider
c.OpenIDConnect.client_id = "hub"
c.OpenIDConnect.client_secret = "the secret of the client"
c.OpenIDConnect.oauth_callback_url = os.environ["TEST_HUB_URL"] + "/hub/oauth_callback"
c.OpenIDConnect.authorize_url = f"{provider}/authorize"
c.OpenIDConnect.token_url = f"{provider}/token"
c.OpenIDConnect.userdata_url = f"{provider}/userinfo"
c.OpenIDConnect.end_session_url = f"{provider}/end"
c.OpenIDConnect.after_logout_url = "https://hub.example.org/"
c.OpenIDConnect.username_claim = "preferred_username"
c.OpenIDConnect.manage_groups = True
c.OpenIDConnect.auth_state_groups_key = "oauth_user.groups"
may_stay.FRESH = may_stay.PAUSE = 1
