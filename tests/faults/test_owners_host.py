"""A host that has everything: what its owner has there goes on as it was, item by item.

What is looked at in detail elsewhere (test_postgres.py, test_owners_docker.py, test_edges.py) is
one item here.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from lab import Lab
from tests.kit.owner import INVENTORY, Nginx
from tests.kit.shop import DOCKER, DOCKER_LOOK, DOCKER_SETTINGS, POSTGRES_LOOK, postgres
from tests.kit.support import PROJECT, down, eventually

pytestmark = [pytest.mark.slow, pytest.mark.every]

#: SSH's second port, mail, the database and Apache are for other hosts, too
OPEN = [{"port": port} for port in (2222, 25, 5432, 8088)]

_APACHE = """
export DEBIAN_FRONTEND=noninteractive
mkdir -p /etc/apache2 /srv/second
echo 'Listen 8088' >/etc/apache2/ports.conf
echo 'Second hand' >/srv/second/index.html
apt-get install -qy --no-install-recommends -o Dpkg::Options::=--force-confold apache2 >/dev/null
cat >/etc/apache2/sites-available/000-default.conf <<END
<VirtualHost *:8088>
    DocumentRoot /srv/second
    <Directory /srv/second>
        Require all granted
    </Directory>
</VirtualHost>
END
systemctl reset-failed apache2
systemctl restart apache2
"""
_CONTAINERS = """
docker network create shelves >/dev/null
docker run -d --name always --restart always --network shelves shop /bin/sleep 100001 >/dev/null
docker create --name created shop /bin/sleep 1 >/dev/null
"""
_ACCOUNTS = """
groupadd --gid 4000 staff-of-shop
useradd --create-home --uid 1500 --groups staff-of-shop ada
useradd --create-home --uid 30000 --gid 4000 --home-dir /srv/homes/bob bob
useradd --create-home --uid 100500 carl
useradd --system --no-create-home --home-dir /srv/till till
echo 'carl:a long enough password' | chpasswd
mkdir -m 700 ~ada/.ssh
ssh-keygen -q -t ed25519 -N '' -f /root/ada-key
cat /root/ada-key.pub >~ada/.ssh/authorized_keys
echo 'a diary' >~ada/diary
chmod 600 ~ada/diary ~ada/.ssh/*
chown -R ada: ~ada/.ssh ~ada/diary
install -d -o till -g staff-of-shop -m 2770 /srv/till
install -o carl -g 4000 -m 4750 /bin/true /srv/till/count
ln -s /srv/till ~bob/till
echo 'ada ALL=(till) NOPASSWD: ALL' >/etc/sudoers.d/shop
chmod 440 /etc/sudoers.d/shop
"""
_MAIL = """
export DEBIAN_FRONTEND=noninteractive
echo 'postfix postfix/main_mailer_type select Internet Site' | debconf-set-selections
echo 'postfix postfix/mailname string own.example.org' | debconf-set-selections
apt-get install -qy --no-install-recommends postfix >/dev/null
postconf -e 'message_size_limit = 12345678'
echo 'shop: ada' >>/etc/aliases
newaliases
systemctl restart postfix
"""
_SYSTEM = r"""
export DEBIAN_FRONTEND=noninteractive
apt-get install -qy --no-install-recommends cron curl logrotate nftables >/dev/null
ln -sf /usr/share/zoneinfo/Europe/Zurich /etc/localtime
echo Europe/Zurich >/etc/timezone
echo 'LANG=C.UTF-8' >/etc/default/locale
echo 'SHOP=open' >>/etc/environment
echo 'net.ipv4.tcp_keepalive_time = 1234' >/etc/sysctl.d/99-shop.conf
sysctl -qp /etc/sysctl.d/99-shop.conf
echo '198.51.100.7 supplier' >>/etc/hosts
cat >/etc/ssh/sshd_config.d/20-shop.conf <<END
PasswordAuthentication yes
Port 22
Port 2222
MaxSessions 7
Banner /etc/issue.net
END
systemctl restart ssh
printf '/var/log/shop/*.log {\n  weekly\n}\n' >/etc/logrotate.d/shop
echo '* soft nofile 3333' >/etc/security/limits.d/shop.conf
printf 'APT::Periodic::Unattended-Upgrade "0";\n' >/etc/apt/apt.conf.d/20auto-upgrades
printf 'Package: nothing\nPin: release *\nPin-Priority: 7\n' >/etc/apt/preferences.d/shop
install -d -o ada /var/log/shop
echo '* * * * * ada date +\%s >>/var/log/shop/cron.d.log' >/etc/cron.d/shop
echo '* * * * * date +\%s >>/var/log/shop/crontab.log' | crontab -u ada -
cat >/etc/systemd/system/shop.service <<END
[Service]
User=ada
ExecStart=/bin/sleep 100002
[Install]
WantedBy=multi-user.target
END
cat >/etc/systemd/system/shop-count.service <<END
[Service]
User=ada
ExecStart=/bin/sh -c 'date +%%s >>/var/log/shop/timer.log'
END
cat >/etc/systemd/system/shop-count.timer <<END
[Timer]
OnCalendar=minutely
[Install]
WantedBy=timers.target
END
mkdir /etc/systemd/system/nginx.service.d
printf '[Service]\nLimitNOFILE=4321\n' >/etc/systemd/system/nginx.service.d/shop.conf
systemctl daemon-reload
systemctl enable -q --now shop.service shop-count.timer
systemd-run -q --unit=watch --uid=nobody --property=StandardOutput=null \
    sh -c "while psql -AtXq -d shop -U shop -c 'SELECT 1'; do sleep 0.5; done"
"""
_RULES = """
for each in iptables ip6tables; do
    $each -N SHOP
    $each -A SHOP -p udp --dport 9999 -j DROP
    $each -A INPUT -j SHOP
    $each -t nat -A POSTROUTING -p udp --dport 9998 -j ACCEPT
done
iptables -I DOCKER-USER -s 203.0.113.7 -j DROP
nft add table inet shop
nft add chain inet shop count '{ type filter hook input priority 10; }'
nft add rule inet shop count udp dport 9999 counter
"""

#: What each prints stays as it was. Of rules and networks, ours are left out.
ITEMS = {
    "Nginx": """
        for url in http://shop.example.org/ http://192.0.2.7/ https://shop.example.org/; do
            curl -sk --noproxy '*' --connect-to ::127.0.0.1: $url
        done
        systemctl show -P ExecMainStartTimestamp -P LimitNOFILE nginx""",
    "Apache": """
        curl -s --noproxy '*' http://127.0.0.1:8088/
        systemctl show -P ExecMainStartTimestamp apache2""",
    "PostgreSQL": POSTGRES_LOOK,
    "a client of PostgreSQL": """
        systemctl show -P ActiveState -P ActiveEnterTimestamp watch""",
    "Docker": DOCKER_LOOK,
    "Docker's containers": """
        docker inspect --format '{{.Id}} {{.State.Status}} {{.State.StartedAt}}
            {{.RestartCount}} {{.HostConfig.RestartPolicy.Name}}' shop always created
        docker image ls --no-trunc --format '{{.Repository}} {{.ID}}' | grep -v ^hubstead
        docker network ls --no-trunc --format '{{.Name}} {{.ID}}' | grep -v ^hubstead
        systemctl show -P ExecMainStartTimestamp containerd""",
    "accounts": """
        for each in passwd group shadow gshadow; do
            grep -vE '^(jupyterhub|traefik|hubstead-tls|_?apt|ssl-cert):' /etc/$each || true
        done
        id ada; id bob; id till""",
    "a login by key": """
        ssh -i /root/ada-key -p 2222 -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null \\
            -o LogLevel=ERROR ada@127.0.0.1 \\
            'id -un; cat diary; echo $SHOP; ulimit -Sn; sudo -nu till id -un'""",
    "sshd": """
        sshd -T | grep -E '^(port|maxsessions|banner|subsystem) '
        systemctl show -P ExecMainStartTimestamp ssh""",
    "rules": r"""
        for each in iptables-save ip6tables-save; do
            $each | sed 's/ \[[0-9:]*\]$//' | grep -E '^[-:*]' |
                grep -viE 'hubstead|172\.30\.|addrtype' >/run/rules || true
            # Docker adds a network's in no order of its own
            grep -viE 'docker|br-' /run/rules; grep -iE 'docker|br-' /run/rules | sort
        done
        nft list table inet shop | sed 's/packets .*//'""",
    "the system": """
        readlink /etc/localtime; date +%Z; cat /etc/timezone
        sysctl net.ipv4.tcp_keepalive_time net.ipv4.ip_forward
        getent hosts supplier; hostname; systemctl get-default; systemctl is-system-running""",
    "units": """
        for each in shop.service shop-count.timer cron.service postfix.service; do
            systemctl show -P Id -P ActiveState -P UnitFileState -P ActiveEnterTimestamp $each
        done
        systemctl show -P MainPID shop""",
}
#: What goes on writing, with seconds since the epoch as its last line
JOBS = ("cron.d", "crontab", "timer")

_TAKE_MAIL = (
    "if [ -s /var/mail/ada ]; then tail -n 2 /var/mail/ada | head -n 1; : >/var/mail/ada; fi"
)

#: Files that a run changes: they get something of ours, which is looked at as an item, or elsewhere
CHANGED = {
    *("/etc/docker/daemon.json", "/etc/ld.so.cache"),
    *(f"/etc/{file}" for file in ("passwd", "group", "shadow", "gshadow")),
    *(f"/etc/{file}-" for file in ("passwd", "group", "shadow", "gshadow")),
}
#: The same, as the owner had them, where they are kept
KEPT = {"/etc/apt/apt.conf.d/20auto-upgrades"}


@dataclass(frozen=True)
class Picture:
    """A host as its owner sees it: what each item prints, and each file."""

    items: dict[str, str]
    files: dict[str, str]


def look(host: Nginx) -> Picture:
    host.sudo("sendmail shop@own.example.org", input="Subject: order\n\ntea\n")
    eventually("the mail is there", lambda: host.sudo(_TAKE_MAIL) == "tea\n", 60)
    for job in JOBS:
        last = f"{{ tail -n 1 /var/log/shop/{job}.log 2>/dev/null || true; echo 0; }} | head -n 1"
        last = f"echo $(($(date +%s) - $({last})))"
        eventually(f"{job} goes on", lambda last=last: int(host.sudo(last)) < 65, 70)
    script = (PROJECT / "tests/kit/picture.py").read_text()
    return Picture(
        {item: host.sudo(script) for item, script in ITEMS.items()},
        json.loads(host.sudo("python3 -", input=script)),
    )


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nginx]:
    lab = Lab()
    lab.up(INVENTORY)
    host = Nginx(lab, tmp_path_factory.mktemp("owner"))
    host.settings += (f"firewall_open={json.dumps(OPEN)}",)
    yield host
    down(lab, INVENTORY)


@pytest.fixture(scope="module")
def before(host: Nginx) -> Picture:
    host.sudo(postgres(host.lab.host(host.name).os))
    host.sudo(DOCKER, input=DOCKER_SETTINGS)
    for script in (host.owner, _APACHE, _CONTAINERS, _ACCOUNTS, _MAIL, _SYSTEM, _RULES):
        host.sudo(script)
    return look(host)


def check_same(before: Picture, after: Picture) -> None:
    for item, was in before.items.items():
        lines = difflib.ndiff(was.splitlines(), after.items[item].splitlines())
        assert after.items[item] == was, [item, *(line for line in lines if line[0] != " ")]
    different = {path for path, was in before.files.items() if after.files.get(path) != was}
    assert {path for path in different if "pg_hba" not in path} <= CHANGED | KEPT


def test_what_the_firewall_would_shut_is_named_first(host: Nginx, before: Picture) -> None:
    refused = host.run("--data", "firewall_open=[]", "deploys/all.py")
    assert (refused.status, refused.changed) == (1, []), refused.end
    for each in OPEN:
        assert f'{{"port": {each["port"]}, "from": []}}' in refused.output
    check_same(before, look(host))


def test_everything_goes_on(host: Nginx, before: Picture) -> None:
    first = host.run()
    assert first.status == 0, first.end
    assert "and carl came in by a password so far" in first.output
    for path in KEPT:
        assert f"{path} was there before" in first.output
    check_same(before, look(host))
    second = host.run()
    assert (second.status, second.changed) == (0, []), second.end
    check_same(before, look(host))


def test_everything_goes_on_when_roles_go(host: Nginx, before: Picture) -> None:
    """Those that settings switch off."""
    for run in (host.retire(), host.run("--data", "firewall=False", "deploys/firewall.py")):
        assert run.status == 0, run.end
    after = look(host)
    check_same(before, after)
    new = set(after.files) - set(before.files)
    assert [path for path in new if path.startswith("/etc/nginx")] == []
    assert "HUBSTEAD" not in host.sudo("iptables-save; ip6tables-save")


def test_everything_goes_on_when_the_service_has_gone(host: Nginx, before: Picture) -> None:
    run = host.run("--data", f"remove_service={host.name}", "deploys/remove.py")
    assert run.status == 0, run.end
    after = look(host)
    check_same(before, after)
    stays = ("/srv/hubstead", "/root/.cache/uv")
    new = {path for path in set(after.files) - set(before.files) if not path.startswith(stays)}
    assert [path for path in new if "hubstead" in path] == []
