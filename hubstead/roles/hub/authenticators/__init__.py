"""`hub_authenticator`: how people log in."""
