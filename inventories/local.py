"""The machine that this runs on: Hubstead without SSH. Its names are in group_data/local.py."""

hub = ["@local"]
