"""Who finds no server where theirs was is offered a start at once.

Who removes a container tells nobody: the Hub notices when it looks (Spawner.poll_interval). The
proxy's error page leads to /hub/user/..., where JupyterHub 6.1.1 sends people back to a server that
it takes for running, again and again.
"""

from __future__ import annotations

import asyncio
from typing import Any

from jupyterhub.handlers import base

#: Not typed, and to be changed here
_UserUrlHandler: Any = base.UserUrlHandler


def look_before_leading_back() -> None:
    """Send people back to their server only where that still runs."""
    lead_back = _UserUrlHandler._redirect_to_user_server

    async def _redirect_to_user_server(self: Any, user: Any, spawner: Any) -> None:
        if await spawner.poll_and_notify() is None:
            await lead_back(self, user, spawner)
            return
        # what comes of it is noted down now; another page may still wait for that
        await asyncio.sleep(1)
        self.redirect(self.request.uri)

    _UserUrlHandler._redirect_to_user_server = _redirect_to_user_server
