"""The whole service on a host that is switched from front to front."""

hub = [("fronts.example.org", {"lab_names": ["www.fronts.example.org"]})]
