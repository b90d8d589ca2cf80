"""Three hosts in the shape of inventories/prod.py, with certificates of their own authority."""

import os

_service = {
    "edge": "nginx",
    "lab_os": os.environ.get("LAB_OS", "trixie"),
}

edge = (["edge.example.net"], _service)
hub = (["hub.example.net"], _service)
db = (["db.example.net"], _service)
