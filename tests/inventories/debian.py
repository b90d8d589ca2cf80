"""One host with the whole service, whose Debian 12 becomes 13."""

_data = {
    "lab_os": "bookworm",
    "lab_names": ["servers.debian.example.org"],
    "hub_user_domains": True,
}

hub = [("debian.example.org", _data)]
