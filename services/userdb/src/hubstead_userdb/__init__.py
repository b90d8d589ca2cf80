"""The users table of a Hubstead deployment: schema, command, and what a login may ask of it."""
