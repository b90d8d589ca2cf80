"""The shared JupyterLab on three hosts with Debian 12."""

_bookworm = {"lab_os": "bookworm"}

edge = (["edge.example.edu"], _bookworm)
hub = (["hub.example.edu"], _bookworm)
db = (["db.example.edu"], _bookworm)
jupyterlab_login = ["edge.example.edu", "hub.example.edu", "db.example.edu"]
