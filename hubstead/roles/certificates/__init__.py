"""Certificates: where they come from, their renewal, and the alarm for those that end."""
