# The proxy: a unit of its own, with a user of its own, in the group of the directory of the routes.
# jupyterhub-traefik-proxy 2.1.0 writes its file through NamedTemporaryFile, so that only the Hub
# could read it (jupyterhub_traefik_proxy.traefik_utils.atomic_writing); here the unit's umask holds.
from contextlib import contextmanager

from jupyterhub_traefik_proxy import traefik_utils


@contextmanager
def atomic_writing(path):
    with open(f"{path}-tmp", "w") as file:
        yield file
    os.replace(f"{path}-tmp", path)


traefik_utils.atomic_writing = atomic_writing
c.JupyterHub.proxy_class = "traefik_file"
c.TraefikFileProviderProxy.should_start = False
c.TraefikFileProviderProxy.enable_setup_dynamic_config = False
c.TraefikFileProviderProxy.static_config_file = ""
c.TraefikFileProviderProxy.dynamic_config_file = {{ routes | tojson }}
c.TraefikFileProviderProxy.traefik_entrypoint = "websecure"
c.TraefikFileProviderProxy.traefik_api_url = {{ api_url | tojson }}
c.TraefikFileProviderProxy.traefik_api_username = {{ api_user | tojson }}
c.TraefikFileProviderProxy.traefik_api_password = credential("proxy")
