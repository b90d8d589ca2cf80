"""Every host: its base, its firewall, and what builds the releases."""
