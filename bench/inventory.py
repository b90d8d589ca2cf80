"""The host of the benchmarks."""

hub = [("bench.example.org", {"hub_user_domains": True})]
