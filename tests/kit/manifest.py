"""The end state of a host as text, so that two ways of getting there can be compared.

This file runs on the host itself, as root, from standard input.
"""

import grp
import hashlib
import json
import os
import pwd
import re
import stat
import subprocess
from pathlib import Path

#: Made at random on each host, or written by the system as it runs: present or not is what counts.
RANDOM = re.compile(
    r"/etc/(hubstead/tls/(ca|ca-key|key|fullchain)\.pem|machine-id|ssh/ssh_host_.*"
    r"|ssl/private/.*|ssl/certs/ssl-cert-snakeoil\.pem|ld\.so\.cache"
    r"|(g?shadow|passwd|group|sub[ug]id)-?)"
    r"|/var/lib/hubstead/userdb/initial-passwords/.*"
    r"|/opt/hubstead/.*/(pyvenv\.cfg|RECORD|uv_cache\.json|\.lock|\.complete)"
)
LEFT_OUT = re.compile(
    r"/etc/(hubstead/(tls|certificate)/(versions/.*|current|announced)"
    r"|resolv\.conf|hosts|hostname|mtab|adjtime|\.pwd\.lock|docker/key\.json|apparmor.*"
    r"|ssl/certs/[0-9a-f]{8}\.\d+)|.*/__pycache__(/.*)?"
)
ROOTS = (
    *("/etc", "/opt", "/usr/local", "/var/www"),
    *("/var/lib/chp", "/var/lib/hubstead", "/var/lib/traefik"),
)


def run(command: str) -> str:
    """What a shell command prints."""
    return subprocess.run(command, shell=True, capture_output=True, text=True, check=True).stdout


def entry(path: str) -> list[str]:
    """Kind, mode, owner, group, and the digest of a file or the target of a link.

    Owners by name: the number of a system account depends on which others came before.
    """
    status = os.lstat(path)
    owner, group = pwd.getpwuid(status.st_uid).pw_name, grp.getgrgid(status.st_gid).gr_name
    line = [oct(status.st_mode), owner, group]
    if stat.S_ISLNK(status.st_mode):
        line.append(str(Path(path).readlink()))
    elif stat.S_ISREG(status.st_mode) and not RANDOM.fullmatch(path):
        line.append(hashlib.sha256(Path(path).read_bytes()).hexdigest())
    return line


def files() -> dict[str, list[str]]:
    """Every path below ROOTS."""
    found = {}
    for root in ROOTS:
        for directory, directories, names in os.walk(root):
            for name in directories + names:
                path = f"{directory}/{name}"
                if not LEFT_OUT.fullmatch(path):
                    found[path] = entry(path)
    return found


def accounts() -> list[str]:
    """Users with home and shell, and groups with members, without the numbers."""
    users = [f"{user.pw_name}:{user.pw_dir}:{user.pw_shell}" for user in pwd.getpwall()]
    groups = [f"{group.gr_name}:{','.join(sorted(group.gr_mem))}" for group in grp.getgrall()]
    return sorted(users) + sorted(groups)


def sql(database: str, query: str) -> str:
    """The rows of a query, one a line."""
    return run(f'cd / && runuser -u postgres -- psql -AtX -d {database} -c "{query}"')


def rule(line: str) -> str:
    """A rule without its counters, and with the names of accounts for their numbers."""
    line = re.sub(r" \[\d+:\d+\]", "", line)
    return re.sub(r"(?<=--uid-owner )\d+", lambda number: pwd.getpwuid(int(number[0]))[0], line)


def manifest() -> dict[str, object]:
    """Files, units, accounts, packages, chains, database objects, Docker objects."""
    chains = run("iptables-save; ip6tables-save")
    rules = [line for line in chains.split("\n") if line[:1] in (":", "-")]
    packages = run("dpkg-query -W -f '${Package} ${Version} ${db:Status-Abbrev}\n'")
    tables = "SELECT relname, relacl FROM pg_class WHERE relname ~ '^user' ORDER BY 1"
    return {
        "files": files(),
        "enabled": run("systemctl list-unit-files --no-legend --state=enabled").split("\n"),
        "failed": run("systemctl list-units --no-legend --failed"),
        "accounts": accounts(),
        "packages": packages.split("\n"),
        "chains": sorted(rule(line) for line in rules),
        "roles": sql("postgres", "SELECT rolname, rolcanlogin, rolsuper FROM pg_roles ORDER BY 1"),
        "databases": sql("postgres", "SELECT datname, datacl FROM pg_database ORDER BY 1"),
        "tables": sql("userdb", tables),
        "hub tables": sql("jupyterhub", "SELECT tablename FROM pg_tables ORDER BY 1"),
        "people": sql("userdb", "SELECT username, admin, enabled, declared FROM users ORDER BY 1"),
        "images": run("docker image ls --format '{{.Repository}}:{{.Tag}}' | sort"),
        "networks": run("docker network ls --format '{{.Name}} {{.Driver}}' | sort"),
    }


if __name__ == "__main__":
    print(json.dumps(manifest()))
