"""An ACME server for the lab. No deploy is run on it: `python -m lab up` is all it needs."""

helper = [
    ("acme.example.net", {"lab_helper": "acme"}),
]
