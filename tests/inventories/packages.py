"""A bare host on which packages meet what stands in their way."""

import os

hub = [
    ("packages.example.org", {
        "hub_people_trust_each_other": True,
        "lab_os": os.environ.get("LAB_OS", "trixie"),
    })
]  # fmt: skip
