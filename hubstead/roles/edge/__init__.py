"""`edge`: what stands in front of the service."""
