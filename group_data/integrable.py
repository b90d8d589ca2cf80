"""People come by another application, for a while: there is no login form (docs/embedding.md).

The application makes people, tokens and servers by the Hub's API, as docs/examples/integrator.py
does, and shows JupyterLab in a frame of its pages.
"""

hub_authenticator = "token"
hub_service_accounts = {"application": ["admin:users", "admin:servers", "tokens"]}
hub_frame_origins = ["https://app.example.org"]
# a frame whose page can send no header brings its token in the URL
hub_token_in_url = True

edge = "apache"
proxy = "chp"
hub_base_url = "/jupyter/"
tls = "acme"
tls_acme_email = "admin@example.org"
# people's servers, apart from the Hub in the browser (docs/apart.md)
hub_servers_name = "servers.example.org"

hub_kernels = ["python", "bash", "c", "cpp", "java", "octave", "r"]
hub_memory_limit = "4G"
docker_subnet = "172.27.0.0/16"
# who was away for six minutes is gone, with their files
hub_idle_timeout = 360
hub_cull_users = True
