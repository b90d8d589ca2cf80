"""Someone changes the host by hand: the next run mends exactly that, and the service works."""

import pytest

from tests.kit.service import Service

pytestmark = pytest.mark.slow

HUB_CONFIGURATION = "/etc/jupyterhub/jupyterhub_config.py"
POSTGRES_CONFIGURATION = "/etc/postgresql/*/main/conf.d/hubstead.conf"


def sql(statement: str, database: str = "postgres") -> str:
    return (
        f"cd / && runuser -u postgres -- psql -q -v ON_ERROR_STOP=1 -d {database} -c '{statement}'"
    )


DRIFTS = {
    "modes": (
        [
            f"chmod 666 {HUB_CONFIGURATION}",
            "chmod 777 /etc/jupyterhub/conf.d",
            "chmod 644 /etc/hubstead/userdb/owner.dsn",
        ],
        ["userdb | Put hub-users on the path", "jupyterhub | Write the Hub's configuration"],
    ),
    "owners": (
        ["chown mallory /etc/jupyterhub/credentials/users", "chgrp root /etc/traefik"],
        ["traefik | Write Traefik's configuration", "jupyterhub | Write the Hub's configuration"],
    ),
    "a setting of the Hub": (
        ['sed -i \'s/"mem_limit": .*/"mem_limit": "64M",/\' /etc/jupyterhub/settings.json'],
        ["jupyterhub | Write the Hub's configuration", "jupyterhub | Run JupyterHub"],
    ),
    "a setting of PostgreSQL that is in force": (
        [
            f"sed -i 's/^max_connections.*/max_connections = 21/' {POSTGRES_CONFIGURATION}",
            "systemctl restart postgresql@*",
        ],
        ["postgres | Write its settings", "postgres | Run PostgreSQL"],
    ),
    "a unit's file": (
        ["systemctl stop jupyterhub", "rm /etc/systemd/system/jupyterhub.service"],
        ["jupyterhub | Write the Hub's configuration", "jupyterhub | Run JupyterHub"],
    ),
    "stopped units": (
        [
            "systemctl stop traefik postgresql@*",
            "systemctl kill -s KILL docker",
            "systemctl stop docker.socket docker",
        ],
        [
            # it stops with Docker, and comes before it in a run
            "firewall | Enforce them when Docker has started",
            "postgres | Run PostgreSQL",
            "docker | Run Docker",
            "traefik | Run Traefik",
        ],
    ),
    "disabled units": (
        ["systemctl -q disable traefik jupyterhub"],
        ["traefik | Run Traefik", "jupyterhub | Run JupyterHub"],
    ),
    "a chain": (
        [
            "iptables -D INPUT -j HUBSTEAD-INPUT",
            "iptables -F HUBSTEAD-INPUT",
            "iptables -X HUBSTEAD-INPUT",
        ],
        ["firewall | Enforce the firewall's rules"],
    ),
    "rights in the database": (
        [
            sql("ALTER ROLE jupyterhub SUPERUSER"),
            sql("ALTER ROLE userdb_reader PASSWORD $$known$$"),
            sql("GRANT CONNECT ON DATABASE userdb TO PUBLIC"),
            sql("REVOKE SELECT ON users FROM userdb_reader", "userdb"),
            "hub-users admin admin --revoke --force",
        ],
        [
            "postgres | Create the Hub's role",
            "postgres | Create the reader of the users table",
            "postgres | Create the database of the users table",
            "userdb | Create the users table",
            "userdb | Declare the people of the settings",
        ],
    ),
    "a release in use": (
        ["rm /opt/hubstead/hub/current"],
        ["jupyterhub | Build the release of JupyterHub", "jupyterhub | Run JupyterHub"],
    ),
    "a certificate of somebody else's": (
        [
            "cd /etc/hubstead/tls",
            "openssl x509 -in fullchain.pem -signkey key.pem -out /tmp/other.pem 2>/dev/null",
            "mv /tmp/other.pem fullchain.pem",
        ],
        ["tls | Issue the certificate"],
    ),
    "an alarm that rang while nothing was served": (
        [
            "systemctl stop traefik",
            "! timeout 5 systemctl start hubstead-certificate-check",
            "systemctl kill -s KILL hubstead-certificate-check",
            "systemctl start traefik",
        ],
        ["expiry | Look again after an alarm"],
    ),
}


def test_drifts_are_mended_in_one_run(service: Service) -> None:
    """All at once, but for what is in another's way."""
    apart = {"stopped units", "an alarm that rang while nothing was served"}
    chosen = {drift: of for drift, of in DRIFTS.items() if drift not in apart}
    service.sudo("\n".join(" && ".join(changes) for changes, _ in chosen.values()))
    run = service.run()
    assert run.status == 0, run.end
    assert set(run.changed) == {name for _, mended in chosen.values() for name in mended}
    service.check_works()


@pytest.mark.every
@pytest.mark.parametrize("drift", DRIFTS)
def test_drift_is_mended(service: Service, drift: str) -> None:
    changes, mended = DRIFTS[drift]
    service.sudo(" && ".join(changes))
    run = service.run()
    assert (run.status, run.changed) == (0, mended), run.end
    service.check_works()


@pytest.mark.every
def test_a_run_waits_for_an_alarm_that_may_ring(service: Service) -> None:
    alarm = "hubstead-certificate-check"
    service.sudo(
        f"systemctl start --no-block {alarm}; until systemctl kill -s STOP {alarm}; do :; done;"
        f" systemd-run -q --on-active=75 systemctl kill -s KILL {alarm}"
    )
    run = service.run()
    assert (run.status, run.changed) == (0, ["expiry | Look again after an alarm"]), run.end
    assert service.sudo(f"systemctl show -P Result {alarm}") == "success\n"


def test_a_run_fails_where_nobody_gets_in_from_outside(service: Service) -> None:
    rule = "PREROUTING ! -i lo -p tcp --dport 443 -j DROP"
    service.sudo(f"iptables -t raw -A {rule}")
    run = service.run()
    service.sudo(f"iptables -t raw -D {rule}")
    assert run.status == 1, run.end
    assert (
        "From this machine the service does not answer: https://service.example.org:443/hub/login"
        in run.output
    )
    assert "edge_ask_from_here" in run.output


def test_after_all_that_nothing_is_left_to_do(service: Service) -> None:
    run = service.run()
    assert (run.status, run.changed) == (0, []), run.end
