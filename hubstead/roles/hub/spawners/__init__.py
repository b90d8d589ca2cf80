"""`hub_spawner`: how people's servers run."""
