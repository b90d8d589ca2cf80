"""The roles: each module is one part of the service, read from top to bottom."""
