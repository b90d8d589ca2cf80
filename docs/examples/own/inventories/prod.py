"""Our hosts; what they should be is in group_data/prod.py."""

hub = [("hub.example.org", {"ssh_user": "debian"})]
