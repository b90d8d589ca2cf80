"""gunicorn's settings (``--config python:hubstead_login.gunicorn_config``).

One process, because the limit on guessing counts in memory; its threads wait for the database and
for bcrypt, neither of which holds Python's global lock.
"""

from hubstead_login.verifier import PASSWORD_QUEUE

worker_class = "gthread"
workers = 1
threads = PASSWORD_QUEUE + 56
worker_connections = 2000
# Above the proxy's own, or it would send a request down a connection that is being closed.
keepalive = 75
# Requests under way may finish: a queue of bcrypt takes a while.
graceful_timeout = 20
# Where gunicorn makes the socket itself: for its user and group only.
umask = 0o007
# Nobody manages it but systemd.
control_socket_disable = True
