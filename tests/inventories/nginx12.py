"""The edge Nginx on Debian 12."""

hub = [("nginx12.example.org", {"lab_os": "bookworm", "edge": "nginx"})]
