"""A Hub of JupyterHub 5.5, whose database has an older schema: it is carried over, or goes on."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from hubstead.operations.hub_database import DUMPS, REVISIONS
from tests.kit.hub_client import Kernel, patiently
from tests.kit.service import INVENTORY, PASSWORD, Deployed, Service
from tests.kit.support import PROJECT, Run, command, finish

pytestmark = [pytest.mark.slow, pytest.mark.every]

FORMER, LOCKED = "5.5.4", "6.1.1"
LOCK = rf"""jupyterhub=={FORMER} \
    --hash=sha256:1d987cbe96390e1877ae37b33e0f2936cac72d3abff93496551c58c1df1f533d \
    --hash=sha256:de63fc7bdc00a81b554cd849b4ced9e55fdee55a0645dfe357740dcdb988ab27
"""
#: The schema of that
SCHEMA = "4621fec11365"
#: Of the Hub's configuration, what that one cannot do
NEEDS_LATER = "start_in_turn"


@pytest.fixture(scope="module")
def tree() -> Path:
    """A tree as this one, with the older JupyterHub in its lock."""
    tree = PROJECT / ".build/former"
    shutil.rmtree(tree, ignore_errors=True)
    shutil.copytree(PROJECT, tree, ignore=shutil.ignore_patterns(".*", "__pycache__"))
    lock, revisions = tree / "locks/hub.txt", tree / "locks/hub.revisions"
    swapped = re.sub(r"(?m)^jupyterhub==.*(\n    .*)+\n", lambda found: LOCK, lock.read_text())
    lock.write_text(swapped)
    revisions.write_text("\n".join(REVISIONS[REVISIONS.index(SCHEMA) :]))
    role = tree / "hubstead/roles/hub/jupyterhub.py"
    role.write_text(role.read_text().replace(f'"{NEEDS_LATER}",\n', ""))
    (tree / ".secrets").symlink_to(PROJECT / ".secrets")
    return tree


@pytest.fixture(scope="module")
def service(deployed: Deployed, tree: Path) -> Service:
    """The host with a Hub of then, whose database that made."""
    service = deployed.alone()
    service.sudo("systemctl stop jupyterhub; cd /; runuser -u postgres -- dropdb jupyterhub")
    inventory = tree / INVENTORY.relative_to(PROJECT)
    run = finish(command(inventory, "deploys/all.py"), {"PYTHONPATH": str(tree)}, tree)
    assert run.status == 0, run.end
    return service


@pytest.fixture(scope="module")
def kernel(service: Service) -> Iterator[Kernel]:
    """Of somebody at work since then."""
    with service.person("ada").kernel() as kernel:
        kernel.run("memory = 'kept'")
        yield kernel


def sql(service: Service, query: str) -> str:
    return service.sudo(
        "cd /; runuser -u postgres -- psql -AtXq --set=ON_ERROR_STOP=1 -d jupyterhub", input=query
    ).strip()


def schema(service: Service) -> str:
    return sql(service, "SELECT version_num FROM alembic_version")


def check_people_go_on(service: Service, kernel: Kernel, version: str) -> None:
    """With their tokens, servers and passwords, at a Hub of a version."""
    assert patiently(lambda: kernel.client.api("GET", "/"))["version"] == version
    patiently(kernel.connect)
    assert kernel.run("print(memory)") == "kept\n"
    assert kernel.client.api("GET", "/users/ada")["servers"][""]["ready"]
    assert service.visitor("ada").try_to_log_in(PASSWORD).status_code == 302


def check_it_is_as_before(service: Service, kernel: Kernel, run: Run) -> None:
    assert run.status == 1
    assert "The Hub runs as before" in run.output, run.end
    check_people_go_on(service, kernel, FORMER)
    assert schema(service) == SCHEMA
    # in which nobody can start a server with what this tree says of the Hub
    assert NEEDS_LATER not in service.sudo("cat /etc/jupyterhub/settings.json")
    # its place is told, and nobody else reads it
    dump = re.search(rf"{DUMPS}/\S+\.sql", run.output)
    assert dump and "COPY public.users" in service.sudo(f"cat {dump[0]}")
    assert PASSWORD not in service.stranger(f"cat {dump[0]} && echo {PASSWORD}")


def test_a_hub_that_does_not_start_on_the_new_one_goes_back(
    service: Service, kernel: Kernel
) -> None:
    """Since something of the owner's is for the older one."""
    own = "/etc/jupyterhub/conf.d/own.py"
    line = 'import jupyterhub; assert jupyterhub.__version__ < "6", "made for JupyterHub 5"\n'
    service.sudo(f"cat >{own}", input=line)
    run = service.run()
    service.sudo(f"rm {own}")
    assert "AssertionError: made for JupyterHub 5" in run.output, run.end
    check_it_is_as_before(service, kernel, run)


def test_a_schema_that_cannot_be_made_goes_back(service: Service, kernel: Kernel) -> None:
    """The third of four steps fails, and each is committed."""
    sql(service, "ALTER TABLE users ADD COLUMN user_info text")
    run = service.run()
    assert 'column "user_info" of relation "users" already exists' in run.output, run.end
    check_it_is_as_before(service, kernel, run)
    assert sql(service, "SELECT 1 FROM pg_attribute WHERE attname = 'code_challenge'") == ""
    sql(service, "ALTER TABLE users DROP COLUMN user_info")


def test_the_hub_is_carried_over(service: Service, kernel: Kernel) -> None:
    run = service.run()
    assert run.status == 0, run.end
    check_people_go_on(service, kernel, LOCKED)
    assert schema(service) == REVISIONS[0]
    assert len(service.sudo(f"cd {DUMPS}; find . -type f").split()) == 3
    again = service.run()
    assert (again.status, again.changed) == (0, []), again.end
    patiently(kernel.client.stop_server)
    service.check_works()


def test_a_newer_one_is_refused(service: Service) -> None:
    units, files = service.units(), service.manifest()
    sql(service, "UPDATE alembic_version SET version_num = 'ffffffffffff'")
    run = service.run()
    sql(service, f"UPDATE alembic_version SET version_num = '{REVISIONS[0]}'")
    assert (run.status, run.changed) == (1, [])
    assert "has the schema ffffffffffff of a newer JupyterHub" in run.output, run.end
    assert "no host was touched" in run.output
    assert (service.units(), service.manifest()) == (units, files)


def test_a_dump_of_before_is_put_back(service: Service) -> None:
    """As docs/hosts.md says it."""
    docs = (PROJECT / "docs/hosts.md").read_text().partition("## A new schema")[2]
    (commands,) = re.findall(r"(?m)^    sudo systemctl stop .*(?:\n    .*)+", docs)
    newest = service.sudo(f"ls {DUMPS}/*.sql | tail -n 1").strip()
    service.sudo(re.sub(rf"{DUMPS}/\S+", newest, commands))
    assert schema(service) == SCHEMA
    run = service.run()
    assert run.status == 0, run.end
    assert schema(service) == REVISIONS[0]
    # with the token of then
    ada = service.person("ada")
    assert ada.api("GET", "/")["version"] == LOCKED
    patiently(ada.stop_server)
