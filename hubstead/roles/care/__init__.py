"""What looks after a deployed service."""
