"""Three hosts: people reach the edge, the edge reaches the hub, the hub reaches the database."""

_service = {
    "edge": "nginx",
    "tls": "acme",
    "tls_acme_email": "admin@example.com",
    # people's servers, apart from the Hub in the browser (docs/apart.md)
    "hub_servers_name": "servers.example.com",
}

edge = (["jupyter.example.com"], _service)
hub = (["hub.example.com"], _service)
db = (["db.example.com"], _service)
