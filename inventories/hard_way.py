"""JupyterHub the hard way, in one run, on one host; its settings are in group_data/hard_way.py."""

hub = ["hub.example.org"]
