"""The same Hub without a login; values come from the environment."""

import os
from pathlib import Path
from typing import Any

from hubstead_hub import frames, sessions
from hubstead_hub.files import FilesError
from hubstead_hub.token import TokenOnly

here: Any = globals()
here["load_subconfig"](str(Path(here["__file__"]).with_name("hub_config.py")))
c: Any = here["get_config"]()
c.JupyterHub.authenticator_class = TokenOnly
c.JupyterHub.oauth_require_pkce = True
c.JupyterHub.services = [
    {"name": name, "api_token": os.environ[f"TEST_{name.upper()}"]} for name in ("portal", "board")
]
c.JupyterHub.load_roles = [
    {
        "name": "service-portal",
        "scopes": ["admin:users", "admin:servers", "tokens"],
        "services": ["portal"],
    },
    {"name": "service-board", "scopes": ["list:users"], "services": ["board"]},
]
# as roles/hub/jupyterhub.py has it for `hub_frame_origins`
c.JupyterHub.tornado_settings = {
    "headers": {"Content-Security-Policy": "frame-ancestors https://app.example.org"},
    "frame_origins": ["https://app.example.org"],
}
frames.answer_origins()
c.Ruled.rules_file = "rules.json"
c.Ruled.auth_refresh_age = 1


async def leave(user: Any, account: str | None) -> None:
    """In the place of the files' helper."""
    if Path("away").exists():
        raise FilesError("the helper is away")
    Path(f"left-{user.name}").write_text(account or "")


sessions.LEAVING.append(leave)
