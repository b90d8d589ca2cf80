"""One small host, for the test of the lab itself."""

_data = {"lab_memory": 512, "lab_addresses": ["169.254.169.253"], "hub_user_domains": True}
hub = [("small.example.net", _data)]
