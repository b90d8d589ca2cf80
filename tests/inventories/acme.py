"""A host with a certificate by ACME, under several names, which is switched from front to front."""

hub = [
    (
        "acme13.example.org",
        {"lab_names": ["www.acme13.example.org", "hub.acme13.example.org"]},
    ),
]
