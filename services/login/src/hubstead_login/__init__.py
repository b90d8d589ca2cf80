"""The login in front of JupyterLab: pages for people, and an answer for the proxy's question.

``hubstead_login.app:create_app()`` is the application that gunicorn runs,
``python -m hubstead_login.relay`` the websockets' relay.
"""

#: Holds the session's secret. ``__Host-``: only this very host can have set it, over TLS.
SESSION_COOKIE = "__Host-hubstead-session"
#: Holds, signed, what a form sent back must hold as well.
FORM_COOKIE = "__Host-hubstead-form"

#: Headers of the answer to the proxy and to the relay; they never go on to a browser.
TOKEN_HEADER = "X-Jupyter-Token"
COOKIE_HEADER = "X-Jupyter-Cookie"
USER_HEADER = "X-Session-User"
SECONDS_HEADER = "X-Session-Seconds"
