"""A shared JupyterLab on one host with Debian 12, which takes over an older login's users."""

hub = [("old.example.edu", {"lab_os": "bookworm"})]
jupyterlab_login = ["old.example.edu"]
