"""One person's files, temporary files and the kernel's tables against another's, and the Hub's."""

from __future__ import annotations

import errno
import json
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.kit.hub_client import KernelError, patiently
from tests.kit.service import Service, container

pytestmark = pytest.mark.slow

FILES, SOCKET = "/srv/hubstead/files", "/run/hubstead-people-files.sock"
AS_HUB = "setpriv --reuid=jupyterhub --regid=jupyterhub --init-groups"
# Sends each line of its input over a connection of its own, prints what comes back.
_ASK = """
import socket, sys
for line in sys.stdin:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(60)
        try:
            connection.connect(sys.argv[1])
            connection.sendall(line.encode())
            print(connection.recv(9999).decode().strip())
        except OSError as error:
            print(repr(error))
"""


def ask(service: Service, *lines: str) -> list[str]:
    """What the Hub's user is answered."""
    command = f"{AS_HUB} {shlex.join(['python3', '-c', _ASK, SOCKET])}"
    return service.sudo(command, input="".join(f"{line}\n" for line in lines)).splitlines()


def tree(service: Service) -> str:
    """All that is below people's files, and whose it is."""
    return service.sudo(f"find {FILES} -printf '%p %U:%G %m %s\\n' | sort")


def test_each_has_files_and_a_uid_of_their_own(service: Service) -> None:
    look = """
import getpass, os, pathlib
print(os.getuid(), os.getgid(), getpass.getuser(), pathlib.Path.home(), os.access("..", os.W_OK))
pathlib.Path("mine.txt").write_text("of alone")
"""
    found = {}
    for name in ("alice", "bob"):
        with service.person(name).kernel() as kernel:
            uid, *rest = kernel.run(look).split()
        assert rest == ["59000", "jovyan", "/home/jovyan", "False"]
        owners = service.sudo(f"stat -c '%U:%u:%a' {FILES}/{name} {FILES}/{name}/mine.txt").split()
        assert owners == [f"UNKNOWN:{uid}:700", f"UNKNOWN:{uid}:644"]
        found[name] = int(uid)
    assert found["alice"] != found["bob"] and set(found.values()) <= set(range(70000, 80000))
    # an account of the host neither lists nor reads them
    for path in (FILES, f"{FILES}/alice", f"{FILES}/alice/mine.txt"):
        assert service.stranger(f"ls {path}; cat {path}") == ""


def test_what_the_kernel_has_for_a_user_is_for_one_person(service: Service) -> None:
    """Watches of inotify and queues of messages are counted by uid (inotify(7), mq_overview(7))."""
    starve = """
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
held = []
while (descriptor := libc.inotify_init()) >= 0 and len(held) < 5000:
    held.append(descriptor)
print(len(held) < 5000)
"""
    with service.person("eve").kernel() as eve, service.person("alice").kernel() as alice:
        assert eve.run(starve) == "True\n"
        assert alice.run("import ctypes; print(ctypes.CDLL(None).inotify_init() >= 0)") == "True\n"


def test_nothing_is_written_but_ones_own_files_and_memory(service: Service) -> None:
    write = """
import os, pathlib, tempfile
for path in ("/x", "/etc/x", "/opt/jupyter/x", "/var/x", "/var/tmp/x", "/usr/local/x", "/home/x"):
    try:
        pathlib.Path(path).write_text("x")
        print("written:", path)
    except OSError as error:
        assert error.errno in (13, 30), error
with tempfile.NamedTemporaryFile(mode="w") as file:
    file.write("x")
for place, chunk in (("/tmp", 1 << 24), ("/run", 1 << 20)):
    path, size = pathlib.Path(place, "hoard"), 0
    with path.open("wb", buffering=0) as file:
        try:
            while size < 4 << 30:
                size += file.write(bytes(chunk))
        except OSError as error:
            print(place, error.errno, size >> 20)
    path.unlink()
"""
    with service.person("eve").kernel() as kernel:
        lines = kernel.run(write).splitlines()
    (tmp, full, most), (run, full_too, little) = (line.split() for line in lines)
    assert (tmp, run) == ("/tmp", "/run") and full == full_too == str(errno.ENOSPC)
    # Jupyter has a little of it
    assert 1000 <= int(most) <= 1024 and 14 <= int(little) <= 16
    # all but where Docker puts its init
    changes = service.sudo(f"docker diff {container('eve')}").splitlines()
    assert [line for line in changes if "sbin" not in line and line != "C /usr"] == []


def test_the_next_one_of_a_name_gets_no_files(service: Service) -> None:
    service.person("heiress").notebook("secret.ipynb", "'of the first'")
    service.sudo("hub-users remove heiress --yes")
    service.forget()
    heiress = patiently(lambda: service.person("heiress"))
    with heiress.kernel() as kernel:
        assert kernel.run("import os; print(os.path.exists('secret.ipynb'))") == "False\n"
    kept = service.sudo(f"find {FILES}/.removed -name secret.ipynb").split()
    assert len(kept) == 1 and kept[0].startswith(f"{FILES}/.removed/heiress.")
    assert "of the first" in service.sudo(f"cat {kept[0]}")
    service.sudo(f"rm -r {FILES}/.removed/heiress.*")


def test_who_has_taken_over_the_hub_gets_directories_and_nothing_else(service: Service) -> None:
    service.person("alice")
    before = tree(service)
    lines = [
        json.dumps({"want": name, "account": ""})
        for name in ("..", ".removed", "a/b", "/etc", "", "x\n", "alice/../bob", "lost+found")
    ]
    lines += [
        '{"adopt": "alice", "account": ""}', "{}", "x" * 5000, "\udcff", "[" * 999,
        '{"want": "alice", "account": "../1"}',
    ]  # fmt: skip
    for answer in ask(service, *(line.encode("utf-8", "replace").decode() for line in lines)):
        assert answer == '{"error": "the request is none"}', answer
    assert tree(service) == before
    # what is the owner's stays theirs
    service.sudo(f"mkdir {FILES}/nobody")
    try:
        (answer,) = ask(service, json.dumps({"want": "nobody", "account": ""}))
        assert "somebody else's" in answer
        assert service.sudo(f"stat -c %u:%a {FILES}/nobody") == "0:755\n"
    finally:
        service.sudo(f"rm -r {FILES}/nobody {FILES}/.accounts/nobody*")


def test_who_has_a_full_disk_can_make_room(service: Service) -> None:
    """A disk of its own, of 2 MiB, in the place of the person's directory."""
    service.person("eve")
    patiently(service.person("eve").stop_server)
    place = f"{FILES}/eve"
    options = f"size=2m,mode=700,uid=$(stat -c %u {place}),gid=59000"
    service.sudo(f"mount -t tmpfs -o {options} none {place}")
    try:
        service.sudo(
            f"head -c 3M /dev/zero >{place}/hoard || true; chown --reference {place} {place}/hoard"
        )
        with service.person("eve").kernel() as kernel:
            write = "open('x', 'w').write('x' * 9999)"
            with pytest.raises(KernelError, match="No space left on device"):
                kernel.run(write)
            assert kernel.run(f"import os; os.remove('hoard'); print({write})") == "9999\n"
        patiently(service.person("eve").stop_server)
    finally:
        service.sudo(f"umount --lazy {place}")


@pytest.fixture
def little(service: Service, tmp_path: Path) -> Iterator[None]:
    """A place for eve's files that holds 8 MiB by a quota: of btrfs, since that is what the kernel
    of this machine has. By uid: tests/programs/test_quotas.py.
    """
    file, mount = tmp_path / "disk", tmp_path / "mount"
    mount.mkdir()
    with file.open("wb") as disk:
        disk.truncate(128 << 20)
    subprocess.run(["mkfs.btrfs", "--quiet", file], check=True, capture_output=True)
    attach = ["losetup", "--find", "--show", file]
    device = subprocess.run(attach, capture_output=True, text=True, check=True).stdout.strip()
    try:
        script = (
            'mount "$1" "$2"; btrfs quota enable "$2"; btrfs qgroup limit 8M 0/5 "$2"; umount $2'
        )
        subprocess.run(["sh", "-euc", script, "sh", device, mount], check=True)
        patiently(service.person("eve").stop_server)
        number = device.removeprefix("/dev/loop")
        service.sudo(
            f"uid=$(stat -c %u {FILES}/eve); mknod /dev/little b 7 {number};"
            f" mount /dev/little {FILES}/eve; chmod 700 {FILES}/eve; mkdir {FILES}/eve/.jupyter;"
            # as people-files begins a directory
            f" touch {FILES}/eve/.jupyter/migrated; chown -R $uid:59000 {FILES}/eve"
        )
        yield
        patiently(service.person("eve").stop_server)
    finally:
        service.sudo(f"umount --lazy {FILES}/eve; rm -f /dev/little")
        subprocess.run(["losetup", "--detach", device], check=True)


def test_who_has_filled_their_quota_reads_so_and_can_make_room(
    service: Service, little: None
) -> None:
    full = "Your files take all of the disk that they may."
    # as the Hub is where people have quotas
    run = service.run("--data", "hub_disk_quota=10G", "deploys/jupyterhub.py")
    assert run.status == 0, run.end
    try:
        eve = service.person("eve")

        def save(path: str, text: str) -> httpx.Response:
            body = {"type": "file", "format": "text", "content": text}
            return eve.request("PUT", f"/user/eve/api/contents/{path}", json=body)

        with eve.kernel() as kernel, pytest.raises(KernelError, match="Disk quota exceeded"):
            kernel.run("open('hoard', 'wb').write(bytes(20 << 20))")
        save("x", "x")
        for answer in (save("new.txt", "x" * 99999), save("x", "x" * 99999)):
            assert answer.status_code == 500 and full in answer.json()["message"]
        # a server that starts with full files, for the second time at all
        patiently(eve.stop_server)
        eve = service.person("eve")
        with eve.kernel() as kernel:
            assert kernel.run("print(6*7)") == "42\n"
        eve.server("DELETE", "/contents/hoard")
        assert save("new.txt", "x" * 99999).status_code in (200, 201)
    finally:
        assert service.run("deploys/jupyterhub.py").status == 0


def test_quotas_that_the_disk_cannot_hold_are_refused(service: Service) -> None:
    """Lab hosts have a btrfs."""
    look = f"cd /etc; sha256sum hubstead/*.json systemd/system/hubstead*; find {FILES} -maxdepth 1"
    before, units = service.sudo(look), service.units()
    run = service.run("--data", "hub_disk_quota=10G", "deploys/all.py")
    assert run.status != 0 and run.changed == []
    assert "`hub_disk_quota` = '10G' needs quotas by user" in run.output
    assert "btrfs" in run.output and "Put the files on ext4 or XFS" in run.output
    assert (service.sudo(look), service.units()) == (before, units)
    # and if they are gone later, nobody gets files that have no limit
    places = "/etc/hubstead/people-files.json"
    service.sudo(f"cp -a {places} /tmp/places; sed -i 's/null/[1048576, 1000]/' {places}")
    try:
        (answer,) = ask(service, json.dumps({"want": "newcomer", "account": ""}))
        assert "its file system keeps no quotas" in answer
        assert service.sudo(look).count("newcomer") == 0
    finally:
        service.sudo(f"mv /tmp/places {places}")
    service.check_works()


def test_nobody_but_the_hub_asks_for_files(service: Service) -> None:
    script = shlex.join(["python3", "-c", _ASK, SOCKET])
    asked = service.stranger(script, input='{"want": "mallory", "account": ""}\n')
    assert asked.startswith("PermissionError")


def test_who_asks_and_says_nothing_keeps_nobody_waiting(service: Service) -> None:
    silent = """
import socket, sys, time
held = []
for _ in range(40):
    held.append(socket.socket(socket.AF_UNIX))
    held[-1].connect(sys.argv[1])
print("connected", flush=True)
time.sleep(1)
"""
    command = f"{AS_HUB} {shlex.join(['python3', '-c', silent, SOCKET])}"
    assert service.sudo(command) == "connected\n"
    patiently(service.person("alice").stop_server)
    service.check_works()


def test_a_persons_volume_of_an_earlier_version_moves(service: Service) -> None:
    """In a run, where no server has it; else at the server's next start."""
    image = service.sudo("cat /opt/hubstead/singleuser/image").strip()
    fill = "echo kept >kept.txt; ln -s /etc/shadow link; mkdir -p a/b; chmod 4755 kept.txt"
    for name in ("olaf", "pia"):
        volume = f"--volume hubstead-user-{name}:/home/jovyan"
        service.sudo(f"docker run --rm {volume} {image} sh -c {shlex.quote(fill)}")
    service.sudo(
        f"docker run --detach --name {container('pia')} --network hubstead"
        f" --volume hubstead-user-pia:/home/jovyan {image} sleep infinity"
    )
    first = service.run("deploys/docker.py")
    assert first.changed == ["files | Move the files of people's volumes"], first.end
    assert service.run("deploys/docker.py").changed == []
    volumes = "docker volume ls --quiet | grep hubstead-user- || true"
    assert service.sudo(volumes) == "hubstead-user-pia\n"
    for name in ("olaf", "pia"):
        with service.person(name).kernel() as kernel:
            assert kernel.run("print(open('kept.txt').read())") == "kept\n\n"
            kernel.run("open('kept.txt', 'a').write('more')")
        owners = service.sudo(f"find {FILES}/{name} -printf '%U\\n' | sort -u").split()
        assert len(owners) == 1
    assert service.sudo(volumes) == ""
    assert service.sudo("stat -c %u:%g:%a /etc/shadow").strip() == "0:42:640"


def test_what_the_owner_shares_is_read_by_all_and_changed_by_nobody(service: Service) -> None:
    service.sudo("mkdir -p /srv/course && echo 42 >/srv/course/data && chmod 777 /srv/course")
    shared = ("--data", 'hub_shared_files={"/srv/course": "/course"}')
    patiently(service.person("alice").stop_server)
    for role in ("docker", "jupyterhub"):
        run = service.run(*shared, f"deploys/{role}.py")
        assert run.status == 0, run.end
    try:
        with service.person("alice").kernel() as kernel:
            assert kernel.run("print(open('/course/data').read())") == "42\n\n"
            with pytest.raises(KernelError, match="Read-only file system"):
                kernel.run("open('/course/mine', 'w')")
        patiently(service.person("alice").stop_server)
    finally:
        service.sudo("rm -r /srv/course")
        refused = service.run(*shared, "deploys/docker.py")
        assert refused.status != 0 and "there is no directory /srv/course" in refused.output
        for role in ("docker", "jupyterhub"):
            assert service.run(f"deploys/{role}.py").status == 0
    service.check_works()
