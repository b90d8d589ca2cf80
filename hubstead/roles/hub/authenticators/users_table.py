"""Login by the users table: people of the settings (`hub_users`), and those of `hub-users add`."""

from __future__ import annotations

from hubstead import database, hub, parts
from hubstead.operations import users_table
from hubstead.parts import Authenticator
from hubstead.site import Site


def _configuration(site: Site) -> hub.Configuration:
    return hub.Configuration(
        traits={
            "JupyterHub": {
                # the page to change one's password, and its link in the menu
                "template_paths": [hub.packaged("hubstead_hub", "table_templates")],
            },
            "UsersTableAuthenticator": {
                "dsn_file": hub.credential_file("users"),
                "servers_network": parts.servers_network(site),
            },
        },
    )


PART = Authenticator(
    authenticator_class="hubstead_hub.authenticator.UsersTableAuthenticator",
    configuration=_configuration,
    credentials=lambda site: {"users": database.conninfo(site, "userdb_reader")},
    checks=lambda site: (users_table.check(server=site.db.name),),
)
