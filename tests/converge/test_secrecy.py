"""What an account without rights on the host learns and may change: nothing that matters.

It is there from before the first deploy, and notes down what it sees of all processes during both
deploys. A secret is looked for as it is and in base64, wherever it begins.
"""

import base64
import json

import pytest

from tests.kit.service import PASSWORD, SECRETS, STRANGER, Service, Story

pytestmark = pytest.mark.slow

OURS = "/opt/hubstead /etc/hubstead /etc/jupyterhub /etc/traefik /etc/docker /etc/postgresql"
OURS += " /var/lib/hubstead /var/lib/jupyterhub /var/lib/traefik /var/lib/docker /usr/local"
OURS += " /etc/systemd/system"


def forms(secret: str) -> list[str]:
    """A secret as it is, and the part of its base64 that does not depend on what is around it."""
    encoded = []
    for offset in range(3):
        text = base64.b64encode(b"\0" * offset + secret.encode()).decode().rstrip("=")
        encoded.append(text[(0, 2, 3)[offset] : -1])
    return [secret, *encoded]


@pytest.fixture(scope="module")
def secrets(service: Service, story: Story) -> list[str]:
    """All that must not be seen: generated secrets, one-time passwords, private keys, hashes."""
    service.person("alice")
    service.sudo("hub-users passwd admin --generate")
    generated = list(json.loads(SECRETS.read_text()).values())
    once = service.sudo("cat /var/lib/hubstead/userdb/initial-passwords/*").split()
    keys = service.sudo("cat /etc/hubstead/tls/key.pem /etc/hubstead/tls/ca-key.pem").splitlines()
    hashes = service.sudo(
        "cd /; sql='runuser -u postgres -- psql -AtX -d userdb -c';"
        " $sql 'SELECT rolpassword FROM pg_authid WHERE rolpassword IS NOT NULL';"
        " $sql 'SELECT password_hash FROM users';"
        " grep -o '[$]2b[$][^\"]*' /var/lib/traefik/dynamic/api.toml"
    ).split()
    assert len(generated) >= 6 and len(once) >= 1 and len(hashes) >= 5
    texts = [key for key in keys if "-----" not in key]
    return [*generated, story.one_time_password, *once, *texts, *hashes, PASSWORD]


@pytest.fixture(scope="module")
def needles(secrets: list[str]) -> str:
    """The secrets in all their forms, as grep(1) reads them."""
    return "".join(f"{form}\n" for secret in secrets for form in forms(secret))


def test_the_stranger_saw_the_deploys(service: Service) -> None:
    """What it saw is among the files that the next test searches."""
    seen = service.stranger("tr '\\0' ' ' </home/mallory/seen")
    assert all(command in seen for command in ("apt-get", "psql", "hub-users", "docker build"))


def test_nothing_that_the_stranger_reads_holds_a_secret(service: Service, needles: str) -> None:
    search = "grep --exclude-dir=proc --exclude-dir=sys -D skip -rlaFf - / 2>/dev/null"
    found = service.stranger(search, input=f"{needles}Written by Hubstead (hub_*)\n").split()
    # the search finds what is there, and no more
    assert found == ["/etc/jupyterhub/jupyterhub_config.py"]


def test_processes_show_none_to_the_stranger(service: Service, needles: str) -> None:
    command = (
        "needles=$(mktemp) && cat >$needles && cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ"
        " 2>/dev/null | tr '\\0' '\\n' | grep -aFf $needles; rm $needles"
    )
    marker = "--config=/etc/jupyterhub/jupyterhub_config.py"
    assert service.stranger(command, f"{needles}{marker}\n") == f"{marker}\n"


def test_the_journal_and_the_logs_hold_none(service: Service, needles: str) -> None:
    journal = "exec 3<&0; journalctl --no-pager -a -o cat | grep -aoFf /dev/fd/3 | sort -u"
    marker = "Started jupyterhub.service"
    assert service.sudo(journal, f"{needles}{marker}\n") == f"{marker}\n"
    logs = "grep -rhaoFf - /var/log --exclude-dir=journal | sort -u"
    marker = "database system is ready to accept connections"
    assert service.sudo(logs, f"{needles}{marker}\n") == f"{marker}\n"


def shown(secrets: list[str], output: str) -> list[str]:
    return [form for secret in secrets for form in forms(secret) if form in output]


def test_the_output_of_the_deploys_holds_none(story: Story, secrets: list[str]) -> None:
    output = story.first.output + story.second.output
    assert ">>> sudo" in output  # it is all there: -vvv
    assert shown(secrets, output) == []


def test_a_deploy_that_fails_prints_none(service: Service, secrets: list[str]) -> None:
    """PostgreSQL refuses a statement that sets a password."""
    alter = "ALTER DATABASE postgres {} default_transaction_read_only"
    psql = (
        "cd /; runuser -u postgres -- env PGOPTIONS='-c default_transaction_read_only=off' psql -q"
    )
    forget = "ALTER ROLE userdb_reader PASSWORD NULL"
    service.sudo(f"{psql} -c '{forget}' -c '{alter.format('SET')} = on'")
    run = service.run("-vvv", "--diff", "deploys/postgres.py")
    service.sudo(f"{psql} -c '{alter.format('RESET')}'")
    assert run.status == 1
    assert "cannot execute ALTER ROLE in a read-only transaction" in run.output
    assert shown([*secrets, "PASSWORD 'SCRAM"], run.output) == []
    mended = service.run("deploys/postgres.py").changed
    assert mended == ["postgres | Create the reader of the users table"]
    service.check_works()


def test_nothing_of_ours_is_writable(service: Service) -> None:
    assert service.stranger(f"find {OURS} -writable ! -type l 2>/dev/null") == ""
    assert service.stranger("find /tmp -maxdepth 0 -writable") == "/tmp\n"


def test_the_doors_for_programs_are_shut(service: Service) -> None:
    """The sockets and ports that only the service's own programs may use."""
    curl = "curl -s -o /dev/null -w '%{http_code}' --noproxy '*'"
    answers = {
        "http://127.0.0.1:10/api/rawdata": "401",
        "http://172.30.0.1:8081/hub/metrics": "403",
        "http://172.30.0.1:8081/hub/api/users": "403",
    }
    for url, refused in answers.items():
        assert service.sudo(f"{curl} {url}") == refused
        # not even that
        assert service.stranger(f"{curl} {url}") == "000"
    assert "permission denied" in service.stranger("docker ps 2>&1")
    for role in ("postgres", "jupyterhub", "userdb_owner", "userdb_reader"):
        answer = service.stranger(f"psql -w -U {role} -d userdb -c 'TABLE users' 2>&1")
        assert answer.startswith("psql: error: connection to server")
    assert "run with sudo" in service.stranger("hub-users list 2>&1")
    assert service.stranger("id -un") == f"{STRANGER}\n"
