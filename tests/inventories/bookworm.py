"""The service on Debian 12."""

hub = [("bookworm.example.org", {"lab_os": "bookworm"})]
