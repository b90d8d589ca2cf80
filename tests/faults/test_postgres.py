"""PostgreSQL was there before, with an application of the owner's, which goes on."""

from __future__ import annotations

import json

import pytest

from tests.kit.service import Service
from tests.kit.shop import POSTGRES_LOOK, postgres
from tests.kit.support import PROJECT, Run

pytestmark = pytest.mark.slow

NAME = "own.example.org"

#: Who comes where: our role and theirs, each with its password, in our database and in theirs
_WHO = r"""
cd /
ours=$(sed 's/.* password=\([^ ]*\).*/\1/')
for host in /run/postgresql 127.0.0.1; do
    for login in "userdb_reader $ours" "shop fine goods"; do
        for database in userdb shop; do
            PGPASSWORD=${login#* } psql -AtXq -h $host -U ${login%% *} -d $database \
                -c 'SELECT current_database()' 2>&1 | grep -oE '^(userdb|shop)$|rejects' | head -n 1
        done
    done
done
"""
#: As earlier versions wrote it, from end to end
_FORMER = """# Written by Hubstead (postgres_hba).
# TYPE  DATABASE    USER           ADDRESS  METHOD
local   all         postgres                peer
local   jupyterhub  jupyterhub              scram-sha-256
local   userdb      userdb_owner            scram-sha-256
local   userdb      userdb_reader           scram-sha-256
"""
_AS_BEFORE = """
cd /etc/postgresql/*/main
rm conf.d/shop.conf
cat >pg_hba.conf
cat >conf.d/hubstead.conf <<END
# Written by Hubstead (postgres_*).
END
"""


def deploy(service: Service, *data: str) -> Run:
    arguments = [word for pair in data for word in ("--data", pair)]
    return service.run(*arguments, "deploys/postgres.py")


@pytest.fixture(scope="module")
def before(host: Service) -> str:
    """What the shop and its customer saw before anything of ours came."""
    host.sudo(postgres(host.lab.host(NAME).os))
    return host.sudo(POSTGRES_LOOK)


def test_roles_of_the_owners_are_not_taken(host: Service, before: str) -> None:
    sql = "cd /; runuser -u postgres -- psql -qc '{0} ROLE jupyterhub' -c '{0} DATABASE userdb'"
    host.sudo(sql.format("CREATE"))
    refused = deploy(host)
    assert (refused.status, refused.changed) == (1, []), refused.end
    assert "it has a role jupyterhub already" in refused.output
    assert host.sudo(POSTGRES_LOOK) == before
    assert "Hubstead" not in host.sudo("cat /etc/postgresql/*/main/pg_hba.conf")
    host.sudo(sql.format("DROP"))


def test_the_owners_application_goes_on(host: Service, before: str) -> None:
    first = deploy(host)
    assert first.status == 0, first.end
    assert host.sudo(POSTGRES_LOOK) == before
    second = deploy(host)
    assert (second.status, second.changed) == (0, []), second.end
    assert host.sudo(POSTGRES_LOOK) == before
    # which has the statements that make roles, as the shop's settings want it
    log = host.sudo("cat /var/log/postgresql/*.log")
    assert "CREATE ROLE shop" in log and "SCRAM-SHA-256" not in log


def test_each_keeps_to_its_own(host: Service, before: str) -> None:
    password = json.loads((PROJECT / f".secrets/{NAME}.json").read_text())
    reader = f"user=x password={password['postgres_userdb_reader_password']} y"
    found = host.sudo(_WHO, input=reader).split()
    assert found == ["userdb", "rejects", "rejects", "shop", *["rejects"] * 3, "shop"]


def test_an_earlier_version_wrote_the_whole_file(host: Service, before: str) -> None:
    """It took the cluster for its own: so it stays, and the owner has room for lines again."""
    host.sudo(_AS_BEFORE, input=_FORMER)
    first = deploy(host)
    assert first.status == 0, first.end
    lines = host.sudo("cat /etc/postgresql/*/main/pg_hba.conf").splitlines()
    assert lines[0].startswith("# BEGIN Hubstead") and lines.count("# END Hubstead") == 1
    assert lines[-1].split() == ["host", "replication", "all", "::1/128", "scram-sha-256"]
    assert host.sudo("cd /; runuser -u postgres -- psql -AtXqc 'SHOW listen_addresses'") == "\n"
    second = deploy(host)
    assert (second.status, second.changed) == (0, []), second.end
