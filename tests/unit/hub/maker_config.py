"""The same Hub with rules of a file, and a program that makes people and tokens."""

import os
from pathlib import Path
from typing import Any

here: Any = globals()
here["load_subconfig"](str(Path(here["__file__"]).with_name("hub_config.py")))
c: Any = here["get_config"]()
c.JupyterHub.load_roles = [
    {"name": "maker", "scopes": ["admin:users", "admin:servers", "tokens"], "services": ["maker"]}
]
c.JupyterHub.services = [{"name": "maker", "api_token": os.environ["TEST_SERVICE_TOKEN"]}]
c.Ruled.rules_file = "rules.json"
c.Ruled.auth_refresh_age = 1
