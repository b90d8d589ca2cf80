"""How Hubstead reaches every host: as root, and quickly."""

from hubstead.transport import CONNECT_KWARGS

_sudo = True
ssh_paramiko_connect_kwargs = CONNECT_KWARGS
