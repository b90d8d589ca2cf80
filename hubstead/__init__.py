"""Hubstead: a complete, secure, multi-user JupyterHub on hosts you own."""
