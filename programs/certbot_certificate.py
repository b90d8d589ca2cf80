#!/usr/bin/python3 -I
"""Written by Hubstead: the certificate from an ACME server, by certbot behind the front.

    certbot-certificate --check   says `valid` when certbot has the wanted certificate, and it is
                                  where the servers' certificates are
    certbot-certificate obtain    sees to that, or fails with the reason
    certbot-certificate renew     replaces it; the present one stays when that fails

certbot's own timer renews it afterwards. Other certificates of certbot are left alone, and accounts
as well but for one that the server has forgotten: others that were got with it need a new one too.
"""

import fcntl
import json
import os
import re
import shutil
import ssl
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

PUBLIC = Path("/etc/hubstead/certificate")
CERTBOT = Path("/etc/letsencrypt")
LOG = Path("/var/log/letsencrypt/letsencrypt.log")
LINEAGE = "hubstead"
LIVE = CERTBOT / "live" / LINEAGE
PARTS = ("cert", "privkey", "chain", "fullchain")
RENEWAL = CERTBOT / "renewal" / f"{LINEAGE}.conf"
FORMER_WEBROOT = "/var/lib/hubstead/acme"
INSTALL = "/usr/local/lib/hubstead/install-certificate"
CREDENTIALS = str(CERTBOT / "hubstead-dns.ini")
REASON = "/usr/local/lib/hubstead/acme-reason"
BAD_NONCE = "urn:ietf:params:acme:error:badNonce"  # certbot tries again by itself
#: What it says while another one is at work, and how often it is tried then, a second apart
BUSY, PATIENCE = "Another instance of Certbot is already running", 120
#: Route 53's plugin asks AWS's own library, which looks where this says
AWS = "AWS_SHARED_CREDENTIALS_FILE"
#: What certbot calls each kind of key: its type, the option with its size, the value of that
KEYS = {
    "ec256": ("ecdsa", "elliptic-curve", "secp256r1"),
    "ec384": ("ecdsa", "elliptic-curve", "secp384r1"),
    "rsa2048": ("rsa", "rsa-key-size", "2048"),
    "rsa4096": ("rsa", "rsa-key-size", "4096"),
}


def renewal():
    """certbot's notes on the certificate: its options, without the sections that they are in."""
    try:
        lines = RENEWAL.read_text().splitlines()
    except OSError:
        return {}
    pairs = (line.partition("=") for line in lines if "=" in line and not line.startswith("#"))
    return {key.strip(): value.strip() for key, _, value in pairs}


def accounts(want):
    """Where certbot keeps its accounts at the wanted server."""
    url = urlsplit(want["directory"])
    return CERTBOT / "accounts" / f"{url.netloc}{url.path}".rstrip("/")


def used_account(want):
    """The account with which certbot asks the wanted server; without notes, its only one there."""
    options = renewal()
    noted = accounts(want) / options.get("account", "")
    is_there = options.get("server") == want["directory"] and noted.exists()
    return noted if is_there else accounts(want)


def account_names(want):
    return sorted(path.parent.name for path in accounts(want).glob("*/regr.json"))


def names_and_end(path):
    """The names of a certificate, and the moment of its end."""
    done = subprocess.run(
        ["openssl", "x509", "-noout", "-enddate", "-ext", "subjectAltName", "-in", str(path)],
        capture_output=True, text=True,
    )  # fmt: skip
    names, end = set(), 0
    for line in done.stdout.splitlines():
        if line.startswith("notAfter="):
            end = ssl.cert_time_to_seconds(line.removeprefix("notAfter="))
        for word in line.replace(",", " ").split():
            if word.startswith("DNS:"):
                names.add(word.removeprefix("DNS:").lower())
    return names, end


def key_kind():
    """The kind of the present key, as openssl describes it."""
    done = subprocess.run(
        ["openssl", "pkey", "-noout", "-text_pub", "-in", str(LIVE / "privkey.pem")],
        capture_output=True, text=True,
    )  # fmt: skip
    size = done.stdout.partition("(")[2].partition(" bit")[0]
    return f"ec{size}" if "NIST CURVE" in done.stdout else f"rsa{size}"


def is_whole():
    """Whether certbot can read the certificate that it has, and renew it."""
    return "cert" in renewal() and all((LIVE / f"{part}.pem").exists() for part in PARTS)


def is_issued(want):
    if not is_whole() or renewal().get("server") != want["directory"]:
        return False
    names, end = names_and_end(LIVE / "cert.pem")
    return names == set(want["names"]) and end > time.time() and key_kind() == want["key_type"]


def answer_notes(want):
    """How certbot answers the server, as its notes on the certificate have it."""
    dns = want.get("dns")
    if not dns:
        return {
            "authenticator": "standalone",
            "http01_address": "127.0.0.1",
            "http01_port": str(want["challenge_port"]),
        }
    notes = {"authenticator": dns["plugin"]}
    if dns["plugin"] != "dns-route53":
        prefix = dns["plugin"].replace("-", "_")
        notes[f"{prefix}_credentials"] = dns["credentials"]
        notes[f"{prefix}_propagation_seconds"] = str(dns["wait"])
    return notes


def answer_options(want):
    """The same as options of certbot."""
    dns = want.get("dns")
    if not dns:
        where = ["--http-01-address", "127.0.0.1", "--http-01-port", str(want["challenge_port"])]
        return ["--standalone", *where]
    plugin = dns["plugin"]
    if plugin == "dns-route53":
        return [f"--{plugin}"]
    return [
        f"--{plugin}", f"--{plugin}-credentials", dns["credentials"],
        f"--{plugin}-propagation-seconds", str(dns["wait"]),
    ]  # fmt: skip


def is_renewable(want):
    """Whether certbot can renew it: it knows how to answer, and has an account."""
    options = renewal()
    answers = answer_notes(want).items() <= options.items()
    return answers and options.get("account") in account_names(want)


def is_ours(options, want):
    ours = {"http01_port": str(want["challenge_port"])}
    former = FORMER_WEBROOT in options.get("webroot_path", "") or FORMER_WEBROOT in options.values()
    answers = ours.items() <= options.items() or answer_notes(want).items() <= options.items()
    return former or answers or CREDENTIALS in options.values()


def is_installed():
    try:
        same = (PUBLIC / "fullchain.pem").read_bytes() == (LIVE / "fullchain.pem").read_bytes()
        announced = (PUBLIC / "announced").read_text().strip()
    except OSError:
        return False
    return same and announced == os.readlink(PUBLIC / "current")


def certbot(*arguments):
    """Run certbot; what it says when it fails, otherwise nothing."""
    # Debian's certbot writes one log for all of its runs
    already = LOG.stat().st_size if LOG.exists() else 0
    for left in reversed(range(PATIENCE)):
        done = subprocess.run(
            ["certbot", *arguments, "--non-interactive"],
            capture_output=True, text=True, stdin=subprocess.DEVNULL,
            env={**os.environ, "LC_ALL": "C.UTF-8", AWS: CREDENTIALS},
        )  # fmt: skip
        if not (left and BUSY in done.stdout + done.stderr):
            break
        # its timer, or somebody on the host
        time.sleep(1)
    if done.returncode == 0:
        return ""
    # what kind of error the server sent is in the log alone
    log = LOG.read_bytes() if LOG.exists() else b""
    kinds = re.findall(r"urn:ietf:params:acme:error:\w+", log[already:].decode(errors="replace"))
    return "\n".join([*(set(kinds) - {BAD_NONCE}), done.stdout, done.stderr])


def account_options(want):
    # one account a server; another e-mail address changes nothing there
    contact = ["--email", want["email"], "--no-eff-email"]
    if not want["email"]:
        contact = ["--register-unsafely-without-email"]
    return ["--server", want["directory"], "--agree-tos", *contact]


def certonly(want):
    key_type, size_option, size = KEYS[want["key_type"]]
    return certbot(
        "certonly", *answer_options(want), "--cert-name", LINEAGE, "--domains",
        ",".join(want["names"]), "--key-type", key_type, f"--{size_option}", size,
        *account_options(want), "--force-renewal", "--renew-with-new-domains",
    )  # fmt: skip


def make_renewable(want):
    """Keep a certificate that was had in another way, a former webroot or Traefik."""
    known = account_names(want)
    if not known:
        complaint = certbot("register", *account_options(want))
        if complaint:
            return complaint
        known = account_names(want)
    noted = renewal().get("account")
    account = noted if noted in known else known[0]
    key_type, size_option, size = KEYS[want["key_type"]]
    lines = [f"archive_dir = {CERTBOT}/archive/{LINEAGE}"]
    lines += [f"{part} = {LIVE}/{part}.pem" for part in PARTS]
    lines += [
        "[renewalparams]", f"account = {account}",
        *(f"{key} = {value}" for key, value in answer_notes(want).items()),
        f"server = {want['directory']}", f"key_type = {key_type}",
        f"{size_option.replace('-', '_')} = {size}",
    ]  # fmt: skip
    new = RENEWAL.with_suffix(".new")
    new.write_text("\n".join(lines) + "\n")
    new.replace(RENEWAL)
    return ""


def install():
    subprocess.run(
        [INSTALL, str(PUBLIC), str(LIVE / "fullchain.pem"), str(LIVE / "privkey.pem")], check=True
    )


def order(want, attempt):
    """Make an attempt, and another one with a new account where the server forgot the old one."""
    complaint = attempt()
    if "accountDoesNotExist" in complaint:
        shutil.rmtree(used_account(want))
        complaint = certonly(want)
    if complaint:
        subprocess.run([REASON], input=complaint, text=True, stdout=sys.stderr)
        sys.exit(1)


def main():
    action = sys.argv[1]
    want = json.loads((PUBLIC / "wanted.json").read_text())
    if action == "--check":
        if is_issued(want) and is_renewable(want) and is_installed():
            print("valid")
        return
    lock = open("/run/hubstead-certbot-certificate", "w")
    fcntl.flock(lock, fcntl.LOCK_EX)
    if "cert" in renewal() and not is_ours(renewal(), want):
        sys.exit(
            f"{RENEWAL} is of somebody else's certificate, and Hubstead would call its own so. "
            f"Give that another name, or delete it: certbot delete --cert-name {LINEAGE}"
        )
    if not is_whole():
        # what an order or a deletion left that was cut, upon which certbot refuses the name
        RENEWAL.unlink(missing_ok=True)
        for left in (LIVE, CERTBOT / "archive" / LINEAGE):
            shutil.rmtree(left, ignore_errors=True)
    if not is_issued(want):
        order(want, lambda: certonly(want))
        action = "obtain"
    elif not is_renewable(want):
        order(want, lambda: make_renewable(want))
    if action == "renew":
        order(
            want,
            lambda: certbot(
                "renew", "--cert-name", LINEAGE, "--force-renewal", "--no-random-sleep-on-renew"
            ),
        )
    install()


if __name__ == "__main__":
    main()
