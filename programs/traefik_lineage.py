#!/usr/bin/python3 -I
"""Written by Hubstead: makes the certificate that Traefik got, and serves, a lineage of certbot's.

certbot-certificate completes it, or orders another where the settings want one. What cannot be read
or does not fit is left, and another one is ordered.
"""

import base64
import hashlib
import json
import os
from pathlib import Path

PUBLIC = Path("/etc/hubstead/certificate")
STORE = Path("/var/lib/traefik/acme/acme.json")
CERTBOT = Path("/etc/letsencrypt")


def is_traefiks(served: bytes, directory: str, key_type: str) -> bool:
    """Whether Traefik got the served certificate from the wanted server."""
    # its name for this server and kind of key
    asked = hashlib.sha256(f"{directory} {key_type}".encode()).hexdigest()[:8]
    stored = json.loads(STORE.read_text())[f"acme-{asked}"]["Certificates"]
    return served in [base64.b64decode(entry["certificate"]) for entry in stored]


def write_lineage(served: str, key: str, directory: str) -> None:
    live, archive = CERTBOT / "live/hubstead", CERTBOT / "archive/hubstead"
    leaf, end, chain = served.partition("-----END CERTIFICATE-----\n")
    parts = {"cert": leaf + end, "privkey": key, "chain": chain.lstrip(), "fullchain": served}
    CERTBOT.mkdir(mode=0o755, exist_ok=True)
    for needed in (live, archive, CERTBOT / "renewal"):
        needed.mkdir(parents=True, exist_ok=True)
    for part, text in parts.items():
        (archive / f"{part}1.pem").write_text(text)
        link = live / f"{part}.pem"
        link.unlink(missing_ok=True)
        link.symlink_to(f"../../archive/hubstead/{part}1.pem")
    lines = [f"{part} = {live}/{part}.pem\n" for part in parts]
    lines += ["[renewalparams]\n", f"server = {directory}\n", "http01_port = 8\n"]
    (CERTBOT / "renewal/hubstead.conf").write_text("".join(lines))


def main() -> None:
    os.umask(0o077)
    try:
        want = json.loads((PUBLIC / "wanted.json").read_text())
        served = (PUBLIC / "fullchain.pem").read_bytes()
        is_kept = is_traefiks(served, want["directory"], want["key_type"])
    except (OSError, ValueError, KeyError, TypeError):
        return
    if is_kept and not (CERTBOT / "renewal/hubstead.conf").exists():
        write_lineage(served.decode(), (PUBLIC / "key.pem").read_text(), want["directory"])


if __name__ == "__main__":
    main()
