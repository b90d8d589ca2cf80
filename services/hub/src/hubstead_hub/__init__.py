"""What Hubstead adds to JupyterHub: ways to log in, who may stay, its pages, and servers apart.

``templates`` is for ``JupyterHub.template_paths``; with the users table so is ``table_templates``,
before it: the password page, and its link in the menu. A ``page.html`` of your own should extend
``templates/page.html`` and repeat the link to ``change-password``.
"""
