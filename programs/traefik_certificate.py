#!/usr/bin/python3 -I
"""Written by Hubstead: what Traefik does not do about its certificate by ACME.

    traefik-certificate --check   says `valid` when the wanted certificate is stored and served
    traefik-certificate obtain    waits until it is, or fails with the reason
    traefik-certificate renew     replaces it; the present one stays when that fails
    traefik-certificate export    copies it to where the servers' certificates are
    traefik-certificate prune     before Traefik starts: drops what it would renew for ever

Traefik keeps every certificate that it ever got, renews all of them, and chooses among those for
the same name by their other names: only the wanted one may stay in its store. It orders when its
configuration changes, and a certificate is the wanted one by the exact set of its names
(defaultGeneratedCert). Until it is there, Traefik serves the exported one.
"""

import base64
import fcntl
import json
import os
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PUBLIC = Path("/etc/hubstead/certificate")
STORE = Path("/var/lib/traefik/acme/acme.json")
NUDGE = Path("/var/lib/traefik/dynamic/order.toml")
INSTALL = "/usr/local/lib/hubstead/install-certificate"
REASON = "/usr/local/lib/hubstead/acme-reason"
PATIENCE = 90  # seconds


def wanted():
    return json.loads((PUBLIC / "wanted.json").read_text())


def stored():
    """Traefik's store by resolver. It is not written atomically: a cut one counts as empty."""
    try:
        return json.loads(STORE.read_text() or "{}")
    except (OSError, ValueError):
        return {}


def names_and_end(pem):
    """The names of a certificate, and the moment of its end."""
    done = subprocess.run(
        ["openssl", "x509", "-noout", "-enddate", "-ext", "subjectAltName"],
        input=pem, capture_output=True,
    )  # fmt: skip
    names, end = set(), 0
    for line in done.stdout.decode().splitlines():
        if line.startswith("notAfter="):
            end = ssl.cert_time_to_seconds(line.removeprefix("notAfter="))
        for word in line.replace(",", " ").split():
            if word.startswith("DNS:"):
                names.add(word.removeprefix("DNS:").lower())
    return names, end


def newest(store, want):
    """The stored entry with the wanted names that ends last, and the moment; None without one."""
    fitting = []
    for entry in (store.get(want["resolver"]) or {}).get("Certificates") or []:
        names, end = names_and_end(base64.b64decode(entry["certificate"]))
        if names == set(want["names"]):
            fitting.append((end, entry))
    return max(fitting, key=lambda pair: pair[0], default=(0, None))


def pruned(store, want):
    """The store with the wanted certificate alone; as it is where that is not there."""
    _, entry = newest(store, want)
    if entry is None:
        return store
    return {want["resolver"]: {**store[want["resolver"]], "Certificates": [entry]}}


def write_store(store):
    with tempfile.NamedTemporaryFile("w", dir=STORE.parent, delete=False) as file:
        json.dump(store, file, indent=2)
        file.flush()
        os.fsync(file.fileno())
    if os.geteuid() == 0:
        owner = STORE.parent.stat()
        os.chown(file.name, owner.st_uid, owner.st_gid)
    os.replace(file.name, STORE)


def restart():
    subprocess.run(["systemctl", "restart", "traefik.service"], check=True)


def export(want):
    """Copy the wanted certificate; whether it was there."""
    lock = open("/run/hubstead-traefik-certificate", "w")
    fcntl.flock(lock, fcntl.LOCK_EX)
    store = stored()
    _, entry = newest(store, want)
    if entry is None:
        return False
    fullchain = base64.b64decode(entry["certificate"])
    command = [INSTALL, str(PUBLIC)]
    with tempfile.TemporaryDirectory(dir="/run") as directory:
        if (PUBLIC / "fullchain.pem").read_bytes() != fullchain:
            for name, content in (("f", fullchain), ("k", base64.b64decode(entry["key"]))):
                path = Path(directory, name)
                path.write_bytes(content)
                command.append(str(path))
        subprocess.run(command, check=True)
    if pruned(store, want) != store:
        # Traefik does not stop while it reads its configuration again: it is killed after 10 s
        time.sleep(3)
        restart()
    return True


def is_served(want):
    """Whether Traefik shows the exported certificate for every name."""
    expected = ssl.PEM_cert_to_DER_cert(
        (PUBLIC / "fullchain.pem").read_text().partition("-----END CERTIFICATE-----")[0]
        + "-----END CERTIFICATE-----\n"
    )
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    for name in want["names"]:
        try:
            with socket.create_connection(("127.0.0.1", want["https_port"]), timeout=5) as plain:
                with context.wrap_socket(plain, server_hostname=name) as secure:
                    if secure.getpeercert(binary_form=True) != expected:
                        return False
        except OSError:
            return False
    return True


def is_valid(want):
    store = stored()
    end, entry = newest(store, want)
    if entry is None or end < time.time() or pruned(store, want) != store:
        return False
    if (PUBLIC / "fullchain.pem").read_bytes() != base64.b64decode(entry["certificate"]):
        return False
    return is_announced() and is_served(want)


def is_announced():
    """Whether the hooks know of the exported certificate."""
    try:
        return (PUBLIC / "announced").read_text().strip() == os.readlink(PUBLIC / "current")
    except OSError:
        return False


def nudge():
    """Have Traefik order: it does when its configuration changes, and once it starts."""
    text = f"""# Written by Hubstead: a change, upon which Traefik orders its certificate.
[http.middlewares.order.headers.customRequestHeaders]
X-Order = "{time.time()}"
"""
    with tempfile.NamedTemporaryFile("w", dir=NUDGE.parent, delete=False) as file:
        file.write(text)
    os.chmod(file.name, 0o644)
    os.replace(file.name, NUDGE)


def complaints(since):
    """What Traefik says about its orders since a moment."""
    done = subprocess.run(
        ["journalctl", "-u", "traefik.service", "-o", "cat", "--no-pager", f"--since=@{since:.0f}"],
        capture_output=True, text=True,
    )  # fmt: skip
    words = ("Unable to obtain ACME certificate", "Error renewing ACME", "ACME resolve is skipped")
    lines = [line for line in done.stdout.splitlines() if any(word in line for word in words)]
    return lines[-1] if lines else ""


def settle(want, since, old=None):
    """Wait until a certificate other than `old` is stored and served; the complaint otherwise."""
    deadline = time.monotonic() + PATIENCE
    complaint = ""
    while time.monotonic() < deadline:
        end, entry = newest(stored(), want)
        if entry is not None and entry["certificate"] != old and end > time.time():
            export(want)
            if is_served(want):
                NUDGE.unlink(missing_ok=True)
                return ""
        else:
            complaint = complaints(since)
            if complaint:
                return complaint
        time.sleep(0.5)
    return f"Traefik had no answer within {PATIENCE} s. See: journalctl -u traefik"


def without(want, *parts):
    """The store without these parts of the wanted resolver."""
    store = stored()
    mine = store.get(want["resolver"]) or {}
    return {**store, want["resolver"]: {k: v for k, v in mine.items() if k not in parts}}


def order(want, old=None):
    """Order a certificate and wait for it; the complaint when there is none."""
    since = time.time()
    if old:
        write_store(without(want, "Certificates"))
        restart()
    else:
        nudge()
    complaint = settle(want, since, old)
    if "accountDoesNotExist" in complaint:
        # the server forgot it: the next start makes another one
        write_store(without(want, "Account", *(["Certificates"] if old else [])))
        since = time.time()
        restart()
        complaint = settle(want, since, old)
    return complaint


def fail(want, complaint):
    subprocess.run([REASON], input=complaint, text=True, stdout=sys.stderr)
    sys.exit(1)


def renew(want):
    _, entry = newest(stored(), want)
    before = stored()
    complaint = order(want, entry and entry["certificate"])
    if complaint:
        if entry is not None:
            account = (stored().get(want["resolver"]) or {}).get("Account")
            mine = {**before[want["resolver"]], "Account": account}
            write_store({**before, want["resolver"]: mine})
            restart()
        fail(want, complaint)


def main():
    action = sys.argv[1]
    want = wanted()
    if action == "prune":
        store = stored()
        if not store:
            STORE.unlink(missing_ok=True)
        elif pruned(store, want) != store:
            write_store(pruned(store, want))
    elif action == "--check":
        if is_valid(want):
            print("valid")
    elif action == "export":
        export(want)
    elif action == "obtain":
        end, entry = newest(stored(), want)
        if entry is not None and end < time.time():
            renew(want)
        elif not is_valid(want):
            complaint = order(want)
            if complaint:
                fail(want, complaint)
    elif action == "renew":
        renew(want)


if __name__ == "__main__":
    main()
