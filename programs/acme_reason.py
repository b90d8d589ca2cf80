#!/usr/bin/python3 -I
"""Written by Hubstead: why an ACME server gave no certificate, and how to mend it.

    acme-reason <what certbot printed

What the server says about a name is looked into from here: a name server, or a router that this
host does not see, may know better. So this explains a failure, and refuses nothing beforehand.
"""

import json
import re
import socket
import subprocess
import sys
from ipaddress import ip_address
from pathlib import Path

WANTED = "/etc/hubstead/certificate/wanted.json"
# certbot: three lines a name
_CERTBOT = re.compile(r"Domain:\s*(\S+)\s+Type:\s*(\S+)\s+Detail:\s*(.+)")
_KIND = re.compile(r"urn:ietf:params:acme:error:(\w+)")
_UNTRUSTED = ("certificate verify failed", "CERTIFICATE_VERIFY_FAILED")
_UNREACHABLE = (
    "Connection refused", "Max retries exceeded", "NewConnectionError", "timed out",
    "Network is unreachable", "No route to host", "Connection reset", "Connection aborted",
)  # fmt: skip
_AFTERWARDS = "The certificate that served before goes on serving. Then run again."


def shortened(text, length=200):
    """One line, without the random parts of a challenge."""
    text = re.sub(r"(acme-challenge/)[\w-]+", r"\1…", " ".join(text.replace('\\"', '"').split()))
    return text if len(text) <= length else f"{text[:length]}…"


def problems(text):
    """What the server says of single names: name to its words, once."""
    return {name: shortened(detail) for name, _, detail in _CERTBOT.findall(text)}


def retry_after(text):
    found = re.search(r"retry after ([0-9-]{10}[T ][0-9:]{5,8})", text)
    return f" It says: not before {found[1]} UTC." if found else ""


def of_name(name, said, leads_to, own, port):
    """Two sentences on a name that the server could not validate.

    `leads_to` are the addresses that this host finds for it, and `own` its own ones.
    """
    here = ", ".join(own)
    if not leads_to:
        return (
            f"{name} has no address. Add an A or AAAA record for it that leads to this host "
            f"({here}), or remove it from `hub_names`."
        )
    # a host may know itself by a loopback address (/etc/hosts)
    if not any(address in own or ip_address(address).is_loopback for address in leads_to):
        return (
            f"{name} leads to {', '.join(leads_to)}, and this host has {here}. Correct the record, "
            "unless a router there passes port 80 on to this host, or remove the name from "
            f"`hub_names`. The ACME server: {said}"
        )
    way = f", which has to lead to port {port} of this host" if port != 80 else ""
    return (
        f"{name}: the ACME server could not fetch the answer to its challenge from "
        f"http://{name}/.well-known/acme-challenge/. It says: {said}. Port 80 must be open for the "
        f"whole internet{way}: look at routers and firewalls in front of it."
    )


def in_the_dns(name, said, plugin):
    return (
        f"{name}: the ACME server did not find the answer to its challenge in the DNS. It says: "
        f"{said}. The name servers of its zone must be those that {plugin} writes to; where they "
        "take long to have a new record, set `tls_acme_dns_wait` higher."
    )


def explain(text, want, lookup, own):
    """The reason and the mend. `lookup` gives the addresses of a name, `own` are the host's."""
    server, port = want["directory"], want["challenge_port"]
    plugin = (want.get("dns") or {}).get("plugin")
    if "Could not bind TCP port" in text:
        return (
            f"Another program has port {port} of this host, where certbot answers the server's "
            f"challenges. Stop it, or move it: ss -Hltnp sport = :{port}"
        )
    named = problems(text)
    if named and plugin:
        return "\n".join([in_the_dns(name, said, plugin) for name, said in named.items()][:5])
    if named:
        lines = [
            of_name(name, said, lookup(name), own, want["http_port"])
            for name, said in named.items()
        ]
        return "\n".join(lines[:5])
    kinds = _KIND.findall(text)
    if "rateLimited" in kinds:
        return (
            f"{server} has had too many requests for these names or from this host (429, "
            f"rateLimited).{retry_after(text)} Wait; to try things out, set `tls_acme_staging` or "
            "a server of your own."
        )
    if "accountDoesNotExist" in kinds:
        return (
            f"{server} does not know this host's account any more. `hubstead-certificate renew` "
            "on the host makes a new one."
        )
    if any(words in text for words in _UNTRUSTED):
        return (
            f"{server} shows a certificate that this host does not trust. Add its authority's "
            "certificate to `base_ca_certificates`, or correct `tls_acme_directory`."
        )
    if any(words in text for words in _UNREACHABLE):
        return (
            f"{server} cannot be reached from this host. Look whether the address is right "
            "(`tls_acme_directory`), the server up, and the way to it open: "
            f"curl -v {server}"
        )
    kind = f" ({kinds[-1]})" if kinds else ""
    lines = [line for line in text.splitlines() if line.strip() and "help or search" not in line]
    if plugin and not kinds:
        return (
            f"certbot could not write the answer to {server} into the DNS ({plugin}): "
            f"{shortened(' '.join(lines[-3:]), 400)} Look at `tls_acme_dns_options`, and at the "
            "service's secrets."
        )
    return f"{server} gave no certificate{kind}: {shortened(' '.join(lines[-3:]), 400)}"


def lookup(name):
    try:
        found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except OSError:
        return []
    return list(dict.fromkeys(entry[4][0] for entry in found))


def own_addresses():
    done = subprocess.run(
        ["ip", "-json", "address", "show", "scope", "global", "up"], capture_output=True
    )
    links = json.loads(done.stdout or "[]")
    found = [info.get("local") for link in links for info in link.get("addr_info", [])]
    return [address for address in found if address]


if __name__ == "__main__":
    wanted = json.loads(Path(WANTED).read_text())
    print(explain(sys.stdin.read(), wanted, lookup, own_addresses()))
    print(_AFTERWARDS)
