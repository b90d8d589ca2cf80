"""The machine that this runs on: Hubstead without SSH. Its address comes from `hub_names`."""

hub = ["@local"]
