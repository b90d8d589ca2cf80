"""Run the role `firewall` alone; with --dry it changes nothing, and shows who reaches what."""

import sys

from hubstead.roles.machine.firewall import firewall, policy, table
from hubstead.settings.firewall import FirewallSettings
from hubstead.site import here
from hubstead.wanted import alone

site = here()

alone(site, firewall)
if site[FirewallSettings].firewall:
    # standard output is one document with --json
    print("\n".join(["", f"{site.here.name}:", *table(site, policy(site)), ""]), file=sys.stderr)
