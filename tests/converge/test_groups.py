"""Groups of people: limits, folders, what they may start; who comes by a list, and who leaves."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.attacks.test_docker_filter import Hub, check_refused
from tests.kit import forms
from tests.kit.hub_client import HubClient, KernelError, patiently
from tests.kit.service import PASSWORD, Service, container
from tests.kit.support import PROJECT, Run, eventually

pytestmark = pytest.mark.slow

FOLDERS = "/srv/hubstead/groups"
ROLES = ("deploys/docker.py", "deploys/jupyterhub.py")
PHYSICS = {"members": ["ada", "bob"], "teachers": ["grace", "lena"], "shared": True}
GROUPS = {
    "physics": PHYSICS,
    "small": {"members": ["ada"], "memory": "600M", "cpus": 1},
    "large": {"members": ["hopper"]},
}
LARGE = {"name": "Large", "description": "For <b>hopper", "memory": "3G", "groups": ["large"]}
#: Two thirds of a GiB
HOARD = "hoard = b'x' * (700 << 20); print(len(hoard) >> 20)"


def settle(service: Service, groups: dict[str, Any]) -> None:
    """Deploy with these groups."""
    profiles = [{"name": "Small"}, LARGE]
    service.settings = (
        f"hub_groups={json.dumps(groups)}", f"hub_profiles={json.dumps(profiles)}",
    )  # fmt: skip
    run = service.run(*ROLES)
    assert run.status == 0, run.end


def anew(service: Service, name: str) -> HubClient:
    """Somebody whose server started just now."""
    person = service.person(name)
    patiently(person.stop_server)
    return service.person(name)


@pytest.fixture(scope="module")
def school(service: Service) -> Iterator[Service]:
    """A host with groups that overlap, one of which has less than others."""
    settle(service, GROUPS)
    units = service.units()
    second = service.run(*ROLES)
    assert (second.status, second.changed) == (0, []), second.end
    assert service.units() == units
    yield service
    service.settings = ()
    assert service.run(*ROLES).status == 0
    service.sudo(f"rm -rf {FOLDERS}")


def test_a_cell_dies_at_the_limit_of_the_group(school: Service) -> None:
    ada, mallory = anew(school, "ada"), anew(school, "mallory")
    with ada.kernel() as kernel, ada.kernel() as other, mallory.kernel() as neighbour:
        other.run("memory = 'kept'")
        with pytest.raises(KernelError, match="the kernel died"):
            kernel.run(HOARD)
        assert other.run("print(memory)") == "kept\n"
        assert neighbour.run(HOARD) == "700\n"
    (described,) = json.loads(school.sudo(f"docker inspect {container('ada')}"))
    assert described["HostConfig"]["Memory"] == 600 << 20
    assert described["HostConfig"]["CpuQuota"] == 100_000


def check_folders(school: Service) -> None:
    """What teachers of physics share members see, and nobody else."""
    grace, lena = anew(school, "grace"), anew(school, "lena")
    ada, mallory = anew(school, "ada"), anew(school, "mallory")
    with grace.kernel() as kernel:
        kernel.run(
            "import os; from pathlib import Path; here = Path('/shared/physics')\n"
            "(here / 'lesson.txt').write_text('E = mc2')\n"
            "(here / 'mine.txt').write_text('marks'); (here / 'mine.txt').chmod(0o600)\n"
            "(here / 'way').symlink_to('/home/jovyan'); (here / 'out').symlink_to('/etc/shadow')\n"
            "(here / 'id').write_bytes(Path('/usr/bin/id').read_bytes())\n"
            "try: (here / 'id').chmod(0o6755)\n"
            # where systemd runs her server (RestrictSUIDSGID)
            "except PermissionError: (here / 'id').chmod(0o755)"
        )
    # also in the file browser
    assert ada.server("GET", "/contents/shared/physics/lesson.txt")["content"] == "E = mc2"
    with ada.kernel() as kernel, lena.kernel() as second, mallory.kernel() as outsider:
        try_to_change = """
import os, pathlib
here = pathlib.Path("/shared/physics")
for what in (lambda: (here / "lesson.txt").write_text("x"), lambda: (here / "x").touch(),
             lambda: (here / "lesson.txt").unlink(), lambda: (here / "lesson.txt").chmod(0o777),
             lambda: (here / "lesson.txt").rename(here / "y"), lambda: os.link(here / "id", "id"),
             lambda: (here / "mine.txt").read_text()):
    try:
        what()
        print("done")
    except OSError as error:
        print(error.errno)
"""
        # EROFS, EXDEV for the link, EACCES
        assert kernel.run(try_to_change).split() == ["30"] * 5 + ["18", "13"]
        look = "import os, subprocess; print(os.listdir('/shared'))"
        kernel.run("open('/home/jovyan/own', 'w').write('of ada')")
        assert kernel.run("print(open('/shared/physics/way/own').read())") == "of ada\n"
        assert kernel.run(look) == "['physics']\n"
        with pytest.raises(KernelError, match=r"Permission denied|No such file"):
            kernel.run("open('/shared/physics/out').read()")
        effective = "import subprocess; print(subprocess.check_output(['/shared/physics/id','-u']))"
        own = kernel.run("import os; print(f\"b'{os.getuid()}\\\\n'\")")
        assert kernel.run(effective) == own
        # what one teacher began another goes on with
        second.run("open('/shared/physics/lesson.txt', 'a').write(' (Einstein)')")
        assert kernel.run("print(open('/shared/physics/lesson.txt').read())").endswith(
            "(Einstein)\n"
        )
        hidden = "import os; print(os.path.exists('/shared/physics'), os.path.lexists('shared'))"
        assert outsider.run(hidden) == "False False\n"
    # nor an account of the host
    assert school.stranger(f"ls {FOLDERS}; ls {FOLDERS}/physics; cat {FOLDERS}/*/*") == ""
    assert school.sudo(f"stat -c %u:%g:%a {FOLDERS}/physics") == "0:59000:770\n"


def test_what_a_teacher_shares_members_see_and_nobody_else(school: Service) -> None:
    check_folders(school)


def test_a_hub_taken_over_gives_nobody_more_than_their_groups_have(school: Service) -> None:
    for name in ("ada", "bob", "eve", "grace"):
        school.person(name)
    hub = Hub(school, school.sudo("cat /opt/hubstead/singleuser/image").strip())

    def asked(owner: str, *binds: str, **host_config: object) -> bytes:
        body = hub.wanted(owner)
        body["HostConfig"]["Binds"] += binds
        body["HostConfig"] |= host_config
        body["Volumes"] = {bind.split(":")[1]: {} for bind in body["HostConfig"]["Binds"]}
        return hub.describe(owner, body)

    read, write = (f"{FOLDERS}/physics:/shared/physics:{mode}" for mode in ("ro", "rw"))
    small = {"Memory": 600 << 20}
    check_refused(
        school,
        hub,
        {
            "a folder of others": asked("eve", read),
            "a member that writes": asked("ada", write, **small),
            "all folders": asked("ada", f"{FOLDERS}:/shared:ro", **small),
            "another place": asked("ada", f"{FOLDERS}/physics:/etc:ro", **small),
            "twice": asked("grace", read, write),
            "another's files as a folder": asked("bob", "/srv/hubstead/files/ada:/shared/x:ro"),
            "more memory than the group": asked("ada", Memory=(600 << 20) + 1),
            "more processors than the group": asked("ada", CpuQuota=100_001, **small),
            "more memory than anybody": asked("bob", Memory=(2 << 30) + 1),
        },
    )


def test_people_choose_what_they_may_start(school: Service) -> None:
    def memory(name: str) -> int:
        (described,) = json.loads(school.sudo(f"docker inspect {container(name)}"))
        return int(described["HostConfig"]["Memory"]) >> 20

    def start(person: HubClient, profile: str) -> Any:
        body = {"user_options": {"profile": profile}}
        return person.request("POST", f"/hub/api/users/{person.username}/server", json=body)

    hopper, mallory = school.person("hopper"), school.person("mallory")
    for person in (hopper, mallory):
        patiently(person.stop_server)
    for person, wrong, choices in (
        (hopper, "Huge", "'Small', 'Large'."), (mallory, "Large", "'Small'."),
    ):  # fmt: skip
        refused = start(person, wrong)
        assert refused.status_code == 400
        assert refused.json()["message"].endswith(f"There are: {choices}")
    assert start(hopper, "Large").status_code in (201, 202)
    hopper.start_server()
    mallory.start_server()
    assert (memory("hopper"), memory("mallory")) == (3072, 2048)
    # on a page, with a browser that has no token
    patiently(hopper.stop_server)
    browser = HubClient(school.site, "hopper")
    browser.log_in(PASSWORD)
    page = browser.request("GET", "/hub/spawn/hopper").raise_for_status().text
    assert "For &lt;b&gt;hopper" in page and "<b>hopper" not in page
    assert "3 GiB of memory" in page
    fields = forms.hidden(page) | {"profile": "Small"}
    led = browser.request("POST", forms.action(page), data=fields)
    assert led.status_code == 302 and "/spawn-pending/hopper" in led.headers["Location"]
    hopper.start_server()
    assert memory("hopper") == 2048
    journal = school.sudo("journalctl -u jupyterhub --since=-5min")
    assert "Traceback" not in journal


def test_who_comes_and_who_leaves_needs_no_restart(school: Service) -> None:
    hub = "systemctl show --value --property ExecMainStartTimestampMonotonic jupyterhub"
    mallory, bob = anew(school, "mallory"), anew(school, "bob")
    with mallory.kernel() as kernel, bob.kernel() as other:
        kernel.run("memory = 'kept'")
        before = school.sudo(hub)
        changed = PHYSICS | {"members": ["ada", "mallory"], "teachers": ["grace"], "memory": "1G"}
        settle(school, GROUPS | {"physics": changed})
        assert school.sudo(hub) == before
        # what runs goes on as it began
        assert kernel.run("print(memory)") == "kept\n"
        assert other.run("import os; print(os.path.exists('shared/physics'))") == "True\n"
    with anew(school, "mallory").kernel() as kernel, anew(school, "bob").kernel() as other:
        assert kernel.run("print(open('shared/physics/lesson.txt').read()[:1])") == "E\n"
        assert other.run("import os; print(os.path.lexists('shared'))") == "False\n"
    (described,) = json.loads(school.sudo(f"docker inspect {container('mallory')}"))
    assert described["HostConfig"]["Memory"] == 1 << 30


ARCHIVES = "/srv/hubstead/offboarded"
TINY = "/mnt/tiny/archives"


def offboard(service: Service, name: str, *data: str) -> Run:
    words = [word for each in (f"offboard_user={name}", *data) for word in ("--data", each)]
    return service.run(*words, "deploys/offboard.py")


def test_who_is_named_by_the_settings_stays(school: Service) -> None:
    school.person("grace")
    for name, key in (("grace", "`hub_groups['physics']`"), ("admin", "`hub_users`")):
        run = offboard(school, name)
        assert (run.status, run.changed) == (1, []), run.end
        assert f"{name} is still named in {key}" in run.output
    run = school.run("deploys/offboard.py")
    assert (run.status, run.changed) == (1, []) and "--data offboard_user=NAME" in run.output
    assert school.person("grace").server_answers()


def test_who_leaves_for_good_leaves_an_archive_and_nothing_else(school: Service) -> None:
    """Who taught, and whose server still has the folder."""
    lena, bob = school.person("lena"), school.person("bob")
    lena.notebook("thesis.ipynb", "'of lena'")
    with lena.kernel() as kernel, bob.kernel() as neighbour:
        neighbour.run("memory = 'kept'; open('/home/jovyan/diary', 'w').write('of bob')")
        kernel.run(
            "import os; os.symlink('/srv/hubstead/files/bob', 'others'); os.mkfifo('pipe')\n"
            "os.symlink('/etc/shadow', 'shadow'); open('big', 'wb').write(os.urandom(8 << 20))\n"
            "open('/shared/physics/from lena.txt', 'w').write('for all')"
        )
        uid = school.sudo("stat -c %u /srv/hubstead/files/lena").strip()
        # a disk that is too small stops it before anything is removed
        school.sudo("mkdir -p /mnt/tiny; mount -t tmpfs -o size=2m,mode=755 none /mnt/tiny")
        run = offboard(school, "lena", f"offboard_archives={TINY}")
        assert run.status != 0 and "nothing was removed" in run.output, run.end
        assert "No space left on device" in run.output and "Traceback" not in run.output
        assert school.sudo(f"ls -A {TINY}; umount /mnt/tiny; rmdir /mnt/tiny") == ""
        assert "thesis.ipynb" in school.sudo("ls /srv/hubstead/files/lena")
        assert "lena" in school.sudo("hub-users list")

        run = offboard(school, "lena")
        assert run.status == 0, run.end
        assert run.changed == ["Archive and remove what is lena's"]
        assert "lena leaves for good. This run archives 8." in run.output
        # other people noticed nothing
        assert neighbour.run("print(memory)") == "kept\n"
    (archive,) = school.sudo(f"ls {ARCHIVES}/*").split()
    assert archive.startswith(f"{ARCHIVES}/lena-") and archive.endswith(".tar.gz")
    assert school.sudo(f"stat -c %u:%a {ARCHIVES} {archive}").split() == ["0:700", "0:600"]
    assert "of lena" in school.sudo(f"tar -xzOf {archive} ./lena/thesis.ipynb")
    listed = school.sudo(f"tar -tvzf {archive}")
    assert "./lena/others -> /srv/hubstead/files/bob" in listed and "diary" not in listed
    assert school.sudo("ls -A /srv/hubstead/files /srv/hubstead/files/.removed").count("lena") == 0
    assert "lena" not in school.sudo("hub-users list; docker ps --all")
    assert school.sudo(f"find {FOLDERS} -uid {uid}; cat '{FOLDERS}/physics/from lena.txt'") == (
        "for all"
    )
    # the Hub looks every 15 seconds
    eventually(
        "her token has ended",
        lambda: lena.request("GET", "/hub/api/user").status_code == 403,
        60,
    )
    refused = HubClient(school.site, "lena").try_to_log_in(PASSWORD)
    assert refused.status_code == 403
    school.forget()
    # and once more
    run = offboard(school, "lena")
    assert (run.status, run.changed) == (0, []), run.end
    assert "there is nobody of the name lena; nothing was changed" in run.output
    # the next one of that name is somebody else
    with patiently(lambda: school.person("lena")).kernel() as kernel:
        assert kernel.run("import os; print(os.path.exists('thesis.ipynb'))") == "False\n"
    school.sudo(f"hub-users remove lena --yes; rm -r {ARCHIVES}")
    school.forget()


def test_a_class_comes_from_a_list(school: Service) -> None:
    """The example of docs/users.md."""
    example = (PROJECT / "docs/examples/users.csv").read_text()
    before = school.sudo("hub-users list")
    school.sudo("cat >/root/users.csv", input=example)
    said = school.sudo("hub-users import /root/users.csv --skip-existing --check")
    assert "gets a one-time password" in said and school.sudo("hub-users list") == before
    school.sudo("hub-users import /root/users.csv --skip-existing")
    try:
        school.sudo("hub-users initial-password --csv /root/passwords.csv")
        assert school.sudo("stat -c %u:%a /root/passwords.csv") == "0:600\n"
        lines = school.sudo("cat /root/passwords.csv").splitlines()
        passwords = dict(line.split(",") for line in lines[1:])
        alan = HubClient(school.site, "alan")
        answer = alan.try_to_log_in(passwords["alan"])
        assert "change-password" in answer.headers["Location"]
        again = school.sudo("hub-users import /root/users.csv --skip-existing")
        assert again == "Imported 0 users.\n"
    finally:
        school.sudo(
            "for name in katherine alan edsger; do hub-users remove $name --yes; done;"
            " rm /root/users.csv /root/passwords.csv"
        )
