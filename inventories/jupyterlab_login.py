"""JupyterLab behind a login, on one host; its settings are in group_data/jupyterlab_login.py."""

hub = ["lab.example.org"]
