"""Our choices; Hubstead's docs/settings.md lists all keys."""

hub_users = [{"username": "ada", "admin": True}, "bob"]
hub_memory_limit = "4G"
hub_user_domains = True
