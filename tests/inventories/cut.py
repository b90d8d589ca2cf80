"""The host whose deploys are cut."""

hub = ["cut.example.org"]
