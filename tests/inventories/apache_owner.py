"""A host with someone's own Apache; `LAB_OS=bookworm` makes it Debian 12."""

import os

hub = [
    (
        "own.example.org",
        {
            "edge": "apache",
            "hub_base_url": "/jupyter/",
            "lab_os": os.environ.get("LAB_OS", "trixie"),
        },
    )
]
