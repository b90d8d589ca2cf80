"""Settings of every host. docs/settings.md lists all keys; what stands here is not the default."""

from hubstead.transport import CONNECT_KWARGS

_sudo = True
ssh_paramiko_connect_kwargs = CONNECT_KWARGS
