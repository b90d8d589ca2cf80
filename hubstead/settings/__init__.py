"""Settings: the models of what several roles read, and what checks them all (`model`)."""
