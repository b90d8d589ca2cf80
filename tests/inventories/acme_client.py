"""A bare host that asks the lab's ACME server for certificates."""

_data = {"tls": "acme", "lab_names": ["acmetest.example.org"]}

hub = [("acmetest13.example.org", _data)]
