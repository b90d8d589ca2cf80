"""Roles, a folder a tier: each module has one, which takes the host's Site (hubstead.site)."""
