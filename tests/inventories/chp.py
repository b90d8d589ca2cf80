"""configurable-http-proxy as the front."""

hub = [("chp13.example.org", {"proxy": "chp"})]
