"""The Hub inside another application, on one host; its settings are in group_data/integrable.py."""

hub = ["notebooks.example.org"]
