"""The same Hub with people of a directory; values come from the environment."""

import os
from pathlib import Path
from typing import Any

from hubstead_hub import form, may_stay
from hubstead_hub.ldap import Ldap

here: Any = globals()
here["load_subconfig"](str(Path(here["__file__"]).with_name("maker_config.py")))
c: Any = here["get_config"]()
c.JupyterHub.authenticator_class = Ldap
c.JupyterHub.template_paths = [path for path in c.JupyterHub.template_paths if "table" not in path]
c.Guessing.servers_network = "127.0.0.0/29"
c.Ldap.urls = [os.environ["TEST_DIRECTORY"]]
c.Ldap.base = "ou=people,dc=example,dc=org"
c.Ldap.filter = "(!(employeeType=gone))"
c.Ldap.bind_dn = "cn=reader,dc=example,dc=org"
c.Ldap.bind_password = os.environ["TEST_READER_PASSWORD"]
c.Ldap.group_base = "ou=groups,dc=example,dc=org"
c.Ldap.group_filter = "(member={dn})"
c.Ldap.manage_groups = True
may_stay.FRESH = 1
form.STEP = 0.3
