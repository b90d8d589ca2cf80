"""The same Hub with people of a SAML provider; values come from the environment."""

import os
from pathlib import Path
from typing import Any

from hubstead_hub import may_stay
from hubstead_hub.saml import Saml

here: Any = globals()
here["load_subconfig"](str(Path(here["__file__"]).with_name("maker_config.py")))
c: Any = here["get_config"]()
c.JupyterHub.authenticator_class = Saml
c.JupyterHub.template_paths = [path for path in c.JupyterHub.template_paths if "table" not in path]
c.CryptKeeper.keys = ["0f" * 32]
c.Saml.login_service = "Campus"
c.Saml.entity_id = "https://id.example.net/saml/metadata"
c.Saml.sign_in_url = "https://id.example.net/saml/login"
c.Saml.sign_out_url = "https://id.example.net/saml/logout"
c.Saml.certificates = [os.environ["TEST_CERTIFICATE"]]
c.Saml.service_url = "https://hub.example.org/hub"
c.Saml.key_file = os.environ["TEST_KEY_FILE"]
c.Saml.certificate_file = os.environ["TEST_CERTIFICATE_FILE"]
c.Saml.username_attribute = "uid"
c.Saml.groups_attribute = "urn:example:groups"
c.Saml.session_seconds = int(os.environ["TEST_SESSION_SECONDS"])
c.Saml.manage_groups = True
may_stay.FRESH = may_stay.PAUSE = 1
