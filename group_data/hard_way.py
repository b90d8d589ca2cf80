"""Login by GitHub, a container for each person, Traefik in front (docs/accounts.md, GitHub).

Before the first run: register an OAuth app, and bring its secret (`hub_github_client_secret`).
"""

hub_authenticator = "github"
hub_github_client_id = "the id that GitHub gave"
# people as GitHub calls them
hub_admins = ["grace"]
hub_allowed_users = ["ada", "alan"]

tls = "acme"
tls_acme_email = "admin@example.org"
# people's servers, apart from the Hub in the browser (docs/apart.md)
hub_servers_name = "servers.example.org"
