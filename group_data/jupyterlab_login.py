"""One JupyterLab that people share, behind a login with the users in PostgreSQL (docs/login.md)."""

application = "jupyterlab"
edge = "nginx"
edge_https_port = 30088
login_session_minutes = 15
