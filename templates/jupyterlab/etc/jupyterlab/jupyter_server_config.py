# Written by Hubstead.
c = get_config()  # noqa: F821


def without_token(handler, page_config):
    """JupyterLab writes its token into its pages, for whoever sees them; Nginx brings it here."""
    page_config["token"] = ""
    return page_config


c.ServerApp.tornado_settings = {"page_config_hook": without_token}
# the token: JUPYTER_TOKEN_FILE, which the unit makes anew at each start
c.ServerApp.sock = "/run/hubstead-jupyterlab/jupyterlab.sock"
c.ServerApp.sock_mode = "0660"
c.ServerApp.root_dir = "{{ data }}/notebooks"
c.ServerApp.allow_remote_access = True
c.ServerApp.trust_xheaders = True
c.ServerApp.open_browser = False
c.ServerApp.quit_button = False
