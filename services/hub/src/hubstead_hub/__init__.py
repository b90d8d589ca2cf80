"""What Hubstead adds to JupyterHub: the login by the users table, its pages, and servers apart.

``templates`` is for ``JupyterHub.template_paths``: the password page, and its link in the menu. A
``page.html`` of your own should extend ``templates/page.html`` and repeat the link to
``change-password``.
"""
