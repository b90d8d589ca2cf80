"""The users table of a Hubstead deployment: schema, command, JupyterHub authenticator."""

from pathlib import Path


def templates_dir() -> str:
    """The directory for ``JupyterHub.template_paths``: the password page and its link in the menu.

    Put it after your own template directories, so that yours win. A ``page.html`` of your own
    should then extend ``templates/page.html`` and repeat the link to ``change-password``.
    """
    return str(Path(__file__).parent / "templates")
