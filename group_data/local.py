"""This machine: whatever ends in .localhost leads a browser on it back to it (RFC 6761, 6.3)."""

hub_names = ["hub.localhost"]
hub_user_domains = True
