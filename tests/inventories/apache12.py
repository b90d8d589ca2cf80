"""The service behind Apache on Debian 12."""

hub = [("apache12.example.org", {"lab_os": "bookworm", "edge": "apache"})]
