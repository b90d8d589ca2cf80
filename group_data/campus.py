"""The organisation's own accounts, by OpenID Connect, behind Nginx (docs/accounts.md).

Before the first run: register the service at the provider, and bring the secret that it gives
(`hub_oidc_client_secret`). Another way to log in is another `hub_authenticator`.
"""

hub_authenticator = "oidc"
hub_oidc_issuer = "https://id.example.net"
hub_oidc_client_id = "hub"
hub_oidc_name = "your campus account"
hub_allowed_groups = ["students", "staff"]
hub_admins = ["grace"]

edge = "nginx"
proxy = "chp"
tls = "acme"
tls_acme_email = "admin@example.org"
# people's servers, apart from the Hub in the browser (docs/apart.md)
hub_servers_name = "servers.example.org"

hub_memory_limit = "2G"
hub_cpu_limit = 1.0
# what the registration of students may do: make people, and start and stop their servers
hub_service_accounts = {"registration": ["admin:users", "admin:servers"]}
