"""An organisation's people behind Nginx, on one host; its settings are in group_data/campus.py."""

hub = ["jupyter.example.org"]
