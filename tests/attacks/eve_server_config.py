"""Eve's ~/.jupyter/jupyter_server_config.py: her server is hers, and shows a page to everyone."""

from pathlib import Path
from typing import Any

from jupyter_server.auth.decorator import allow_unauthenticated
from jupyter_server.serverapp import ServerApp
from tornado import web


class Gift(web.RequestHandler):
    """Without a login: whoever opens the link sees it."""

    @allow_unauthenticated
    def get(self) -> None:
        self.write(Path.home().joinpath("gift.html").read_text())


_initialise: Any = ServerApp.init_webapp


def init_webapp(self: Any) -> None:
    _initialise(self)
    self.web_app.add_handlers(".*$", [(f"{self.base_url}gift", Gift)])


ServerApp.init_webapp = init_webapp
