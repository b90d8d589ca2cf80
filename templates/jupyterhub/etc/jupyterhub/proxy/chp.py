# The proxy: a unit of its own. It keeps the routes that it is told.
c.JupyterHub.proxy_class = "configurable-http-proxy"
c.ConfigurableHTTPProxy.should_start = False
c.ConfigurableHTTPProxy.api_url = {{ api_url | tojson }}
c.ConfigurableHTTPProxy.auth_token = credential("proxy")
