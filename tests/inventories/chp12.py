"""configurable-http-proxy as the front, on Debian 12."""

hub = [("chp12.example.org", {"lab_os": "bookworm", "proxy": "chp"})]
