# Written by Hubstead.
"""The configuration of the shared JupyterLab, the same on every host."""

from pathlib import Path
from typing import Any

# traitlets gives it to the files that it reads (traitlets.config.loader.PyFileConfigLoader)
c: Any = globals()["get_config"]()


def without_token(handler: Any, page_config: dict[str, Any]) -> dict[str, Any]:
    """JupyterLab writes its token into its pages, for whoever sees them; Nginx brings it here."""
    page_config["token"] = ""
    return page_config


c.ServerApp.tornado_settings = {"page_config_hook": without_token}
# the token: JUPYTER_TOKEN_FILE, which the unit makes anew at each start
c.ServerApp.sock = "/run/hubstead-jupyterlab/jupyterlab.sock"
c.ServerApp.sock_mode = "0660"
c.ServerApp.root_dir = str(Path.home() / "notebooks")
c.ServerApp.allow_remote_access = True
c.ServerApp.trust_xheaders = True
c.ServerApp.open_browser = False
c.ServerApp.quit_button = False
