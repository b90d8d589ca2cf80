"""One small host, for the test of the lab itself."""

hub = [
    ("small.example.net", {"lab_memory": 512, "lab_addresses": ["169.254.169.253"]}),
]
