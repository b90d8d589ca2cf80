"""API tokens end, also those that were made while there was no limit.

JupyterHub looks at `token_expires_in_max_seconds` when somebody makes a token, and never again.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from jupyterhub import app as jupyterhub_app
from jupyterhub import orm

#: Not typed, and the first to be changed here
_JupyterHub: Any = jupyterhub_app.JupyterHub
_APIToken: Any = orm.APIToken


def end_tokens_of_before() -> None:
    """When the Hub starts, give people's tokens that never end the longest time there is."""
    load = _JupyterHub.init_api_tokens

    async def init_api_tokens(app: Any) -> None:
        await load(app)
        limit(app)

    _JupyterHub.init_api_tokens = init_api_tokens


def limit(app: Any) -> None:
    """Limit people's tokens; those of running servers go on, and those that conf.d declares."""
    if not app.token_expires_in_max_seconds:
        return
    declared = [_APIToken.find(app.db, token) for token in app.api_tokens]
    # the Hub keeps no other sign of them (User.spawn)
    servers = {
        (spawner.user_id, note)
        for spawner in app.db.query(orm.Spawner).filter(orm.Spawner.server_id.is_not(None))
        for note in (
            f"Server at {spawner.server.base_url}",
            f"retrieved from spawner {spawner.name}",
        )
    }
    end = _APIToken.now() + timedelta(seconds=app.token_expires_in_max_seconds)
    for token in app.db.query(_APIToken).filter(
        _APIToken.user_id.is_not(None),
        # a browser's ends with its login
        _APIToken.session_id.is_(None),
        _APIToken.expires_at.is_(None),
    ):
        if (token.user_id, token.note) not in servers and token not in declared:
            token.expires_at = end
    app.db.commit()
