"""The service behind Apache, below a path, on Debian 13."""

hub = [("apache13.example.org", {"edge": "apache", "hub_base_url": "/jupyter/"})]
