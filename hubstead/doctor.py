"""Doctor: why nobody can log in. It looks at every part of the service, and changes nothing.

It asks what verify asks (hubstead.health), and what that rests on; each host by itself and all at
once. Whoever is the last of them tells of all, and ends the run before pyinfra gets to operations:
with -y or --dry it is the same.
"""

from __future__ import annotations

import shlex
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NoReturn
from weakref import WeakKeyDictionary

from pyinfra.api.exceptions import PyinfraError
from pyinfra.api.host import Host
from pyinfra.api.state import State
from pyinfra.connectors.ssh import SSHConnector
from pyinfra.context import ctx_host, ctx_state

from hubstead import certificates, database, diagnosis, health, parts
from hubstead.diagnosis import Finding
from hubstead.listeners import LOOPBACK, Listener, listeners
from hubstead.operations import examination, firewall, internal_ca, outside, trust
from hubstead.operations.addresses import Interfaces
from hubstead.operations.checks import Check
from hubstead.operations.examination import Answer
from hubstead.roles.lab.jupyterlab import LOGIN
from hubstead.roles.machine.firewall import UNIT as FIREWALL
from hubstead.settings.doctor import DoctorSettings
from hubstead.settings.edge import EdgeSettings
from hubstead.settings.firewall import FirewallSettings
from hubstead.settings.model import SettingsError, read
from hubstead.settings.tls import TlsSettings
from hubstead.site import Site, TopologyError, another_time, as_it_is, needs
from hubstead.texts import is_address

#: MiB, and files, that a file system has left at least; MiB of memory
LEAST_ROOM, LEAST_FILES, LEAST_MEMORY = 10, 1000, 100
CONF_D = "/etc/jupyterhub/conf.d"
DEPLOY = "pyinfra -y INVENTORY deploys/all.py"

#: Run on the host by the Hub's Python: no word of what is in a file, which may be a secret
_COMPILED = """
import pathlib, sys
for path in sorted(pathlib.Path(sys.argv[1]).glob("*.py")):
    try:
        compile(path.read_bytes(), path, "exec")
    except (SyntaxError, ValueError) as error:
        sys.exit(f"{path}, line {getattr(error, 'lineno', 1)}: {type(error).__name__}")
"""
#: The same of a Hub that does not start, by the last lines of what it said
_LAST_LINE = f"""
systemctl --quiet is-active jupyterhub && exit 0
place=$(journalctl --unit=jupyterhub --since=-10min --output=cat --lines=500 --quiet |
    grep -o 'File "{CONF_D}/[^"]*", line [0-9]*' | tail -n 1)
[ -z "$place" ] || {{ echo "the Hub ends in $place"; exit 1; }}
"""
#: Arguments: protocol of `openssl s_client`, port, name, and the authority's certificate, if known
_CERTIFICATE = f"""
case $1 in postgres) starttls='-starttls postgres' ;; *) starttls= ;; esac
case $3 in
    *[!0-9.]*) server="-servername $3" check=-checkhost ;;
    *) server=-noservername check=-checkip ;;
esac
pem=$(timeout 10 openssl s_client -connect {LOOPBACK}:$2 $server $starttls </dev/null 2>/dev/null |
    openssl x509 2>/dev/null) || {{ echo "port $2 shows none for $3"; exit 1; }}
of() {{ echo "$pem" | openssl x509 -noout "$@"; }}
of -checkend 0 >/dev/null || {{ echo "that of $3 on port $2 has ended: $(of -enddate)"; exit 1; }}
begin=$(of -startdate | cut -d= -f2)
[ "$(date -d "$begin" +%s)" -le "$(date +%s)" ] ||
    {{ echo "that of $3 is not valid before $begin"; exit 1; }}
[ -z "$4" ] || said=$(echo "$pem" | openssl verify -CAfile "$4" 2>&1) ||
    {{ echo "that of $3 on port $2 is of another authority than $4"; exit 1; }}
of $check "$3" | grep -q 'does match' || {{ echo "that on port $2 is not for $3"; exit 1; }}
"""
_MEMORY = f"""
free=$(sed -n 's/^MemAvailable: *\\([0-9]*\\) kB/\\1/p' /proc/meminfo)
echo "$((free / 1024)) MiB are free"
[ $((free / 1024)) -ge {LEAST_MEMORY} ]
"""
#: Arguments: names, each after `needed:` where it has to have an address, or `told:`
_ADDRESSES = """
said= missing=
for word; do
    name=${word#*:}
    address=$(timeout 5 getent ahosts "$name" | head -n 1 | cut -d' ' -f1)
    said="$said${said:+; }$name has ${address:-no address} there"
    case $word in needed:*) [ -n "$address" ] || missing="$missing $name" ;; esac
done
[ -z "$missing" ] || { echo "no address there for$missing"; exit 1; }
echo "$said"
"""
#: Subjects of which it is worth to tell what was found, though it is well
TOLD = ("memory", "addresses")


def doctor() -> None:
    """Look at the host at hand, and after the last host of the run tell what was found.

    Ends the run, with `diagnosis.status`.
    """
    state: State = ctx_state.get()
    host: Host = ctx_host.get()
    if state.op_meta:
        raise PyinfraError("deploys/doctor.py runs alone: it ends the run. Nothing was changed.")
    visit = _visits.setdefault(state, _Visit())
    visit.found[host] = list(_look(host, visit.homes))
    if set(visit.found) >= state.activated_hosts:
        _end(state, visit)


@dataclass
class _Visit:
    """What a run found by now, and which host has what there is once for all of them."""

    found: dict[Host, list[Finding]] = field(default_factory=dict)
    homes: dict[str, str] = field(default_factory=dict)


_visits: WeakKeyDictionary[State, _Visit] = WeakKeyDictionary()


def _end(state: State, visit: _Visit) -> NoReturn:
    """Tell what was found."""
    found = visit.found
    for host in state.inventory:
        if state.is_host_in_limit(host) and host not in found:
            found[host] = [_unreachable(host, "it does not answer over SSH")]
    ordered = [each for host in state.inventory for each in found.get(host, [])]
    made = diagnosis.diagnoses(ordered, visit.homes)
    wants_json = any(read(DoctorSettings, host.data.dict()).doctor_json for host in found)
    print(diagnosis.document(made) if wants_json else diagnosis.text(made), flush=True)
    raise SystemExit(diagnosis.status(made))


def _unreachable(host: Host, reason: str) -> Finding:
    mend = f"look whether {host.name} runs, and `ssh {host.name} sudo true`"
    return Finding(host.name, "host", False, reason, mend)


def _look(host: Host, homes: dict[str, str]) -> Iterator[Finding]:
    """All that is to be found on the host at hand; `homes` are told where others would look."""
    try:
        site = as_it_is()
    except (SettingsError, TopologyError):
        raise
    except PyinfraError as error:
        yield _unreachable(host, str(error))
        return
    name = site.here.name
    homes.update(_where(site))
    yield Finding(name, "host", True)
    if site.machine.bare:
        yield Finding(name, "deployed", False, "nothing of Hubstead's is there", DEPLOY)
        return
    yield _clock(site)
    yield from _disks(site)
    yield from _answers(site)
    if site[FirewallSettings].firewall:
        yield _firewall(site)
    if site.plays("edge"):
        yield _names(site)
        if site[EdgeSettings].edge_site:
            yield _outside(site)


def _where(site: Site) -> dict[str, str]:
    """Which host has what there is once, for the others."""
    once = {"database": site.db, "names": site.edge, "edge": site.edge, "page": site.edge}
    of_the_hub = ("accounts", "network", "proxy", "configuration", "hub", "login", "lab")
    return {
        **{subject: member.name for subject, member in once.items()},
        **dict.fromkeys(of_the_hub, site.hub.name),
    }


def _clock(site: Site) -> Finding:
    return Finding(
        site.here.name,
        "clock",
        not site.ahead,
        another_time(site.ahead) if site.ahead else "",
        "set the wrong one of the two: `timedatectl` says there and here whether it is kept right",
    )


def _disks(site: Site) -> Iterator[Finding]:
    """A file system without room, by what a run writes there, or for another file."""
    yield Finding(site.here.name, "disk", True)
    for path in site.machine.read_only:
        mend = "`dmesg` tells of a failing disk; else `mount -o remount,rw`"
        yield Finding(site.here.name, "disk", False, f"{path} is mounted read-only", mend)
    for need in needs(site, bare=False):
        disk, mend = need.disk, f"`du -xh {need.disk.target} | sort -h | tail` tells of the largest"
        least = max(need.least, LEAST_ROOM)
        if disk.free < least:
            said = f"{disk.target} has {disk.free} MiB free, and needs {least}"
            yield Finding(site.here.name, "disk", False, said, mend)
        if disk.inodes is not None and disk.inodes < LEAST_FILES:
            said = f"{disk.target} has room for {disk.inodes} more files (`df -i`)"
            mend = f"`du -x --inodes {disk.target} | sort -n | tail` tells where the most are"
            yield Finding(site.here.name, "disk", False, said, mend)


def _answers(site: Site) -> Iterator[Finding]:
    """What the host says to checks that leave no trace."""
    asked = [each for each in _checks(site) if each.leaves_no_trace]
    answers: list[Answer] = site.here.host.get_fact(
        examination.Answers, _stdin=examination.questions(asked), _ignore_errors=True
    )
    if len(answers) != len(asked):
        yield _unreachable(site.here.host, "it does not answer to what is asked by python3")
        return
    for check, answer in zip(asked, answers, strict=True):
        if answer.holds:
            said = answer.said if check.of in TOLD else ""
            yield Finding(site.here.name, check.of, True, said)
        elif answer.unit:
            said = f"{answer.unit} is {answer.said}"
            mend = _mend_unit(answer.unit, answer.said)
            yield Finding(site.here.name, check.of, False, said, mend)
        else:
            said = answer.said or f"{check.part} does not answer as it should"
            yield Finding(site.here.name, check.of, False, said, check.mend)


def _mend_unit(unit: str, state: str) -> str:
    """What to do about a unit that does not run."""
    match state:
        case "inactive":
            return f"`systemctl start {unit}`; `journalctl -u {unit}` tells how it ended"
        case "masked":
            return f"`systemctl unmask --now {unit}`"
        case "not-found" | "unknown":
            return DEPLOY
        case _:
            return f"`journalctl -u {unit} -n 50` says why; then `systemctl restart {unit}`"


def _checks(site: Site) -> Iterator[Check]:
    """What verify asks on the host at hand, and before that what it rests on."""
    yield _check(
        "memory", "Look at the memory", _MEMORY, "`ps -eo rss,pid,args --sort=-rss | head`"
    )
    yield from _addresses(site)
    if site[FirewallSettings].firewall:
        mend = f"systemctl restart {FIREWALL}"
        yield _check("firewall", "Look at its unit", "true", mend, FIREWALL)
    if site.plays("db"):
        unit = site.distribution.postgres.unit
        ready = f"pg_isready -h {database.SOCKETS}"
        yield _check("database", "Ask PostgreSQL", ready, f"journalctl -u {unit} -n 50", unit)
    for each in listeners(site):
        if each.always:
            yield health.listening([each], of=health.part_of(each))
        if each.certificate:
            yield from _certificates(site, each)
    if site.serves("jupyterhub"):
        yield from _of_hub(site)
    if site.serves("jupyterlab"):
        # a service ends with its socket
        kinds = sorted(LOGIN, key=lambda each: not each.endswith(".socket"))
        units = [f"hubstead-login{each}" for each in kinds]
        mend = "journalctl -u 'hubstead-login*' -n 50"
        yield _check("login", "Look at its units", "true", mend, *units)
        yield from health.of_lab(site)
    if site.plays("edge") and site[EdgeSettings].edge_site:
        yield from health.of_front(site)


def _check(of: str, name: str, script: str, mend: str, *units: str) -> Check:
    return Check(name=name, part=of, script=script, mend=mend, of=of, units=units)


def _addresses(site: Site) -> Iterator[Check]:
    """Names as the host itself finds them: other hosts that it asks need an address there.

    Of the service's own it is told: nothing of ours asks for them.
    """
    needed = {site.db.address} if site.plays("hub") else set()
    if site.plays("edge"):
        needed.add(site.hub.address)
    needed -= {site.here.address}
    told = {name.replace("*", "any") for name in site.every_name} - needed
    words = [f"needed:{name}" for name in sorted(needed) if not _needs_no_dns(name)]
    words += [f"told:{name}" for name in sorted(told) if not _needs_no_dns(name)]
    if words:
        mend = "does the DNS server of /etc/resolv.conf there answer? Or set `base_address`"
        script = f"set -- {shlex.join(words)}\n{_ADDRESSES}"
        yield _check("addresses", "Look up names", script, mend)


def _needs_no_dns(name: str) -> bool:
    return is_address(name) or name.startswith("@") or name.split(".")[-1] == "localhost"


def _of_hub(site: Site) -> Iterator[Check]:
    """On the hub host: its parts, and the owner's configuration."""
    python = "/opt/hubstead/hub/current/bin/python -I -c"
    mend = f"mend that file, then `systemctl restart jupyterhub`; {CONF_D} is yours"
    compiled = f"{python} {shlex.quote(_COMPILED)} {CONF_D}"
    yield _check("configuration", "Read the owner's configuration", compiled, mend)
    yield _check("configuration", "Look where the Hub ended", _LAST_LINE, mend)
    for part in parts.chosen(site):
        yield from part.grounds(site)
    yield from health.of_hub(site)


def _certificates(site: Site, listener: Listener) -> Iterator[Check]:
    """Of one port, for each name that it is asked by."""
    public = listener.setting == "edge_https_port"
    own = not public or site[TlsSettings].tls == "internal"
    authority = f"{certificates.INTERNAL}/ca.pem" if own else ""
    for name in listener.names:
        asked = name.replace("*", "any")
        words = shlex.join([str(listener.certificate), str(listener.port), asked, authority])
        yield _check(
            "certificate",
            "Look at a certificate",
            f"set -- {words}\n{_CERTIFICATE}",
            _mend_certificate(site) if public else f"sudo {internal_ca.SCRIPT}",
            listener.unit,
        )


def _mend_certificate(site: Site) -> str:
    match site[TlsSettings].tls:
        case "internal":
            return "sudo hubstead-certificate renew"
        case "acme":
            return "sudo hubstead-certificate renew; `journalctl -u certbot` says what went wrong"
        case _:
            return "put a new one where `tls_certificate` says, and run deploys/tls.py"


def _firewall(site: Site) -> Finding:
    """Whether the rules that the last run kept are in force, before everybody else's."""
    host = site.here.host
    live = host.get_fact(firewall.Firewall, _ignore_errors=True)
    v4, v6 = host.get_fact(firewall.Kept, _ignore_errors=True)
    if not v4:
        return Finding(site.here.name, "firewall", False, "there are no rules to enforce", DEPLOY)
    holds = live.enforces(v4, v6)
    said = "" if holds else "its rules are not in force, or others come before them"
    mend = f"systemctl restart {FIREWALL}; iptables -S shows what there is"
    return Finding(site.here.name, "firewall", holds, said, mend)


def _names(site: Site) -> Finding:
    """Whether the service's names lead from this machine to the host that people come to."""
    here = site.here.name
    if not site[EdgeSettings].edge_ask_from_here:
        return Finding(here, "names", None, "`edge_ask_from_here` is False")
    own = _own(site)
    said, mend = [], ""
    _, https = health.front(site)
    for each in site.every_name:
        name = each.replace("*", "any")
        if _needs_no_dns(name):
            continue
        address = ", ".join(sorted(found := _resolved(name))) or "no address"
        said.append(f"{each} has {address}")
        if found & own or (found and _is_served(site, name, https)):
            continue
        where = ", ".join(sorted(own))
        mend = f"a DNS record for {each} that leads to {site.edge.name}, which has {where}"
        return Finding(here, "names", False, f"{each} has {address} here", mend)
    return Finding(here, "names", True, "; ".join(said))


def _resolved(name: str) -> set[str]:
    try:
        return {str(each[4][0]) for each in socket.getaddrinfo(name, 0, type=socket.SOCK_STREAM)}
    except OSError:
        return set()


def _own(site: Site) -> set[str]:
    """Addresses of the host at hand, as it has them and as SSH reaches it."""
    interfaces = site.here.host.get_fact(Interfaces, _ignore_errors=True)
    found = {str(a) for each in interfaces if each.outward for a in each.addresses}
    connector = site.here.host.connector
    if not isinstance(connector, SSHConnector):
        return found | {LOOPBACK, "::1"}
    transport = connector.client.get_transport() if connector.client else None
    if transport is not None and isinstance(transport.sock, socket.socket):
        found.add(str(transport.sock.getpeername()[0]))
    return found


def _is_served(site: Site, name: str, https: Listener) -> bool:
    """Whether the service is at an address that is none of the host's: a cloud's, say."""
    of_name = [page for page in health.pages(site) if page.name == name]
    known = _authority(site)
    return bool(of_name) and all(
        outside.reason(page, https.port, known) is None for page in of_name
    )


def _authority(site: Site) -> str | None:
    path = health.authority(site)
    if path is None:
        return None
    found: dict[str, str] = site.here.host.get_fact(trust.Certificates, path, _ignore_errors=True)
    return found.get(path)


def _outside(site: Site) -> Finding:
    """The login page from this machine, as people get it."""
    here = site.here.name
    if not site[EdgeSettings].edge_ask_from_here:
        return Finding(here, "outside", None, "`edge_ask_from_here` is False")
    _, https = health.front(site)
    known = _authority(site)
    for page in health.pages(site):
        if said := outside.reason(page, https.port, known):
            mend = f"look at firewalls between here and {here} (of the host, of the cloud)"
            return Finding(here, "outside", False, said, mend)
    return Finding(here, "outside", True)
