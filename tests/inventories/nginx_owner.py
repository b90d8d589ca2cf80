"""A host with someone's own Nginx; `LAB_OS=bookworm` makes it Debian 12."""

import os

hub = [
    (
        "garden.example.org",
        {
            "edge": "nginx",
            "hub_base_url": "/jupyter/",
            "edge_upload_limit": 20,
            "lab_os": os.environ.get("LAB_OS", "trixie"),
        },
    )
]
