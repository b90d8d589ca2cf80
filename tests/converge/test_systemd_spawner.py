"""People's servers as units of systemd: what they are, and what eve gets from within hers."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab import Lab
from tests.converge.test_groups import FOLDERS as GROUPS_FILES
from tests.converge.test_groups import HOARD, PHYSICS, check_folders
from tests.kit.hub_client import KernelError, patiently
from tests.kit.service import STRANGER, Deployed, Service
from tests.kit.support import PROJECT, down, eventually

pytestmark = pytest.mark.slow

INVENTORY, NAME = PROJECT / "tests/inventories/systemd.py", "systemd.example.org"
FILES, SOCKET = "/srv/hubstead/files", "/run/hubstead-people-servers.sock"
GATEWAY, METADATA, ELSEWHERE = "172.29.0.1", "169.254.169.254", "203.0.113.9"
AS_HUB = "setpriv --reuid=jupyterhub --regid=jupyterhub --init-groups"
#: Sends its input as one request, prints what comes back
ASK = """
import socket, sys
with socket.socket(socket.AF_UNIX) as connection:
    connection.settimeout(60)
    connection.connect(sys.argv[1])
    connection.sendall(sys.stdin.buffer.read())
    print(connection.recv(9999).decode().strip())
"""
#: In a kernel: what comes of a connection to each (address, port)
TRY = """
import errno, json, socket
def attempt(address, port):
    with socket.socket() as connection:
        connection.settimeout(3)
        try:
            connection.connect((address, port))
            return "connected"
        except TimeoutError:
            return "silence"
        except OSError as error:
            return errno.errorcode[error.errno]
"""
#: The ports on which one's own processes listen, in proc_pid_net(5): address, state, uid
OWN = """
import os
rows = [row.split() for row in open("/proc/net/tcp").readlines()[1:]]
own = [int(row[1][9:], 16) for row in rows if row[3] == "0A" and int(row[7]) == os.getuid()]
"""


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    lab = Lab()
    service = Service(lab, tmp_path_factory.mktemp("systemd"), INVENTORY, NAME)

    def deploy_twice() -> str:
        service.sudo(f"useradd --create-home {STRANGER}; install -D /etc/hostname /srv/course/note")
        first = service.run()
        assert first.status == 0, first.end
        units = service.units()
        second = service.run()
        assert (second.status, second.changed) == (0, []), second.end
        assert service.units() == units
        return ""

    lab.reach(INVENTORY, "deployed twice", deploy_twice)
    yield service
    down(lab, INVENTORY)


@pytest.fixture(scope="module")
def uids(service: Service) -> dict[str, int]:
    """Those of people whose servers run."""
    for name in ("alice", "eve"):
        service.person(name)
    found = service.sudo(f"stat -c %u {FILES}/alice {FILES}/eve").split()
    return dict(zip(("alice", "eve"), map(int, found), strict=True))


def unit(uid: int) -> str:
    return f"hubstead-server@{uid}.service"


def main_pid(service: Service, uid: int) -> str:
    return service.sudo(f"systemctl show -P MainPID {unit(uid)}").strip()


def ask(service: Service, request: Any, whose: str = AS_HUB) -> str:
    """What an account is answered."""
    text = request if isinstance(request, str) else json.dumps(request)
    command = f"{whose} {shlex.join(['python3', '-c', ASK, SOCKET])} 2>&1 || true"
    return service.sudo(command, input=f"{text}\n")


def inside(service: Service, name: str, code: str) -> Any:
    """What an expression is in somebody's kernel, after statements; over JSON."""
    *statements, expression = code.strip().splitlines()
    with service.person(name).kernel() as kernel:
        code = "\n".join([*statements, "import json", f"print(json.dumps({expression}))"])
        answer = kernel.run(code)
    # else they take its memory
    service.person(name).server("DELETE", f"/kernels/{kernel.identity}")
    return json.loads(answer)


def shell(service: Service, name: str, command: str) -> str:
    """What a command prints in somebody's server, errors as well."""
    how = "shell=True, text=True, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL"
    return str(
        inside(
            service, name, f"import subprocess\nsubprocess.run({command!r}, {how},"
            " stdout=subprocess.PIPE, timeout=50).stdout",
        )
    )  # fmt: skip


def test_there_is_no_docker(service: Service) -> None:
    packages = service.sudo("dpkg-query -W -f '${Package}\\n'").split()
    assert not {"docker.io", "containerd", "docker-cli"} & set(packages)
    assert "docker" not in service.sudo("ip -brief link; iptables-save").lower()
    assert service.sudo("id -Gn jupyterhub").split() == ["jupyterhub"]


def test_each_is_a_uid_of_their_own_without_any_power(
    service: Service, uids: dict[str, int]
) -> None:
    look = """
import getpass, os, pathlib
status = dict(line.split(":\\t") for line in open("/proc/self/status").read().splitlines())
caps = sorted({status[each] for each in ("CapEff", "CapPrm", "CapInh", "CapBnd", "CapAmb")})
[os.getuid(), os.getgid(), os.getgroups(), getpass.getuser(), str(pathlib.Path.home()), caps, status["NoNewPrivs"], os.environ["SHELL"], os.cpu_count() > 0]
"""  # noqa: E501
    for name, uid in uids.items():
        expected = [uid, 59000, [], "jovyan", "/home/jovyan", ["0" * 16], "1", "/bin/bash", True]
        assert inside(service, name, look) == expected
    assert uids["alice"] != uids["eve"]


def test_people_have_terminals_packages_and_shared_files(service: Service) -> None:
    service.person("alice").terminal("tty >terminal; id -un >>terminal")
    eventually(
        "the terminal's file",
        lambda: "jovyan" in shell(service, "alice", "cat terminal"),
        20,
    )
    assert shell(service, "alice", "cat terminal").startswith("/dev/pts/")
    assert "environment" in shell(service, "alice", "pip --version")
    # to oneself
    assert "not in this" not in shell(service, "alice", "python -m pip install --user --help")
    assert shell(service, "alice", "cat /course/note").strip() == "systemd"
    assert "Read-only" in shell(service, "alice", "touch /course/x")


def test_the_greedy_kernel_dies_alone(service: Service) -> None:
    alice = service.person("alice")
    with alice.kernel() as greedy, alice.kernel() as other:
        other.run("memory = 'kept'")
        with pytest.raises(KernelError, match="the kernel died"):
            greedy.run("hoard = [b'x' * (1 << 20) for _ in range(3 << 10)]")
        assert other.run("print(memory)") == "kept\n"
        assert alice.server_answers()


def test_the_limits_are_those_of_the_settings(service: Service, uids: dict[str, int]) -> None:
    names = "MemoryMax", "CPUQuotaPerSecUSec", "TasksMax", "OOMScoreAdjust", "Slice"
    shown = service.sudo(f"systemctl show -p {','.join(names)} {unit(uids['alice'])}")
    assert dict(line.split("=") for line in shown.splitlines()) == {
        "MemoryMax": str(2 << 30),
        "CPUQuotaPerSecUSec": "2s",
        "TasksMax": "512",
        "OOMScoreAdjust": "500",
        "Slice": "hubstead-users.slice",
    }
    swarm = """
import subprocess
started = []
try:
    while len(started) < 2000:
        started.append(subprocess.Popen("cat", stdin=subprocess.PIPE))
except BlockingIOError:
    pass
[(each.kill(), each.wait()) for each in started]
len(started) < 600
"""
    assert inside(service, "eve", swarm) is True


def test_eve_reads_nothing_of_others_and_of_the_host(
    service: Service, uids: dict[str, int]
) -> None:
    service.person("alice").notebook("secret.ipynb", "'of alice'")
    paths = [
        f"{FILES}/alice", f"{FILES}/alice/secret.ipynb", "/srv", "/etc/jupyterhub", "/etc/hubstead",
        "/etc/shadow", "/etc/sudoers", "/etc/ssh", "/var/lib/jupyterhub", "/var/lib/postgresql",
        "/var/lib/hubstead", "/var/log", "/run/dbus", "/run/systemd/private", "/run/postgresql",
        "/run/hubstead-servers", SOCKET, "/run/hubstead-people-files.sock",
        "/sys/fs/cgroup/unified", "/sys/fs/cgroup/system.slice", "/sys/fs/cgroup", "/root",
        "/home/mallory", "/dev/log", "/run/systemd/journal",
        f"/proc/{main_pid(service, uids['alice'])}/environ",
    ]  # fmt: skip
    look = f"""
import os
def readable(path):
    try:
        return bool(os.listdir(path) if os.path.isdir(path) else open(path, "rb").read(1))
    except OSError:
        return False
[path for path in {paths} if readable(path)]
"""
    assert inside(service, "eve", look) == []
    # her own alone
    seen = shell(service, "eve", "cat /proc/[0-9]*/cgroup; ps -eo user,args")
    assert str(uids["alice"]) not in seen and "jupyterhub --config" not in seen
    # what she has for a token is not in any list that others see
    shown = service.stranger(
        f"systemctl show {unit(uids['alice'])}; systemctl cat {unit(uids['alice'])}; ps axeww;"
        " cat /run/hubstead-servers/*/*; journalctl -n 1000"
    )
    token = shell(service, "alice", "printf %s $JUPYTERHUB_API_TOKEN")
    assert len(token) == 32 and token not in shown
    assert service.sudo("find /run/hubstead-servers -name environment") == ""


def test_eve_reaches_nobody(service: Service, uids: dict[str, int]) -> None:
    """What a broken firewall lets out would end at a bridge of the host's that leads nowhere."""
    ports = shell(service, "alice", "ss -Hltn | awk '{print $4}'").split()
    with service.person("alice").kernel():
        mine = [int(each.rpartition(":")[2]) for each in ports]
    server = f"172.29.0.{uids['alice'] - 70000 + 16}"
    service.sudo(
        "ip link show nowhere >/dev/null 2>&1 || { ip link add nowhere type bridge;"
        f" ip link set nowhere up; ip route add {METADATA} dev nowhere;"
        f" ip route add {ELSEWHERE} dev nowhere; }}"
    )
    address = service.address
    kernels = [("127.0.0.1", port) for port in mine if port != 8888]
    assert len(kernels) >= 5
    wanted = {
        **{target: "ECONNREFUSED" for target in kernels},
        (server, 8888): "silence",
        (server, mine[0]): "silence",
        **{("127.0.0.1", port): "ECONNREFUSED" for port in (10, 12, 14, 22, 5432, 8081, 443)},
        **{(GATEWAY, port): "ECONNREFUSED" for port in (10, 22, 5432, 8888)},
        **{(address, port): "ECONNREFUSED" for port in (22, 443, 5432, 8081)},
        (METADATA, 80): "ECONNREFUSED",
        (ELSEWHERE, 443): "ECONNREFUSED",
        (GATEWAY, 8081): "connected",
        (GATEWAY, 443): "connected",
    }
    targets = [list(each) for each in wanted]
    found, hers = inside(
        service, "eve", f"{TRY}{OWN}[[attempt(*target) for target in {targets}], own]"
    )
    # a port of her own kernel's, which by chance has the number of one of alice's
    hers = {("127.0.0.1", port) for port in hers} & {*kernels}
    assert len(hers) < len(kernels)
    # of who is asked for hardware's address, and says nothing, some are told sooner
    found = ["silence" if each == "EHOSTUNREACH" else each for each in found]
    seen = dict(zip(wanted, found, strict=True))
    assert seen == wanted | {target: "connected" for target in hers}
    assert shell(service, "eve", "ip -6 address; ip -6 route").strip() == ""
    # the same targets answer who may ask them
    asked = f"python3 -c {shlex.quote(TRY + f'print(attempt({server!r}, 8888), attempt({GATEWAY!r}, 22))')}"  # noqa: E501
    assert service.sudo(asked) == "connected connected\n"


def test_without_the_firewall_frames_still_go_to_the_host_alone(
    service: Service, uids: dict[str, int]
) -> None:
    server = f"172.29.0.{uids['alice'] - 70000 + 16}"
    service.sudo("/usr/local/lib/hubstead/firewall-apply remove")
    try:
        found = inside(service, "eve", f"{TRY}attempt({server!r}, 8888)")
        assert found in ("EHOSTUNREACH", "silence")
    finally:
        service.sudo("/usr/local/lib/hubstead/firewall-apply")


def test_verify_finds_an_sshd_within_reach_of_servers(service: Service) -> None:
    rule = "INPUT -p tcp --dport 22 -j ACCEPT"
    service.sudo(f"iptables -I {rule}")
    try:
        run = service.run("deploys/verify.py")
    finally:
        service.sudo(f"iptables -D {rule}")
    assert run.status == 1
    assert f"a server reaches the sshd of its host at {GATEWAY}:22" in run.output, run.end


def test_eve_gets_no_power(service: Service, uids: dict[str, int]) -> None:
    pid = main_pid(service, uids["alice"])
    for command in (
        f"kill {pid}",
        f"kill -0 {pid}",
        "kill -0 1",
        "sudo -n id",
        "su -c id",
        "setpriv --reuid=0 id",
        "systemctl status",
        "systemctl --user status",
        "systemd-run id",
        "systemd-run --user id",
        "pkexec id",
        "busctl list",
        "at now </dev/null",
        "crontab -l",
        "mount -t tmpfs none /tmp",
        "unshare --user id",
        "unshare --net id",
        "nsenter --target 1 --all id",
        "chroot / id",
        "dmesg",
        "hostname eve",
        "date -s 2020-01-01",
        "ip link add x type dummy",
        "iptables -S",
        "ping -c 1 -W 1 172.29.0.1",
        "logger x && test -e /dev/log",
        "mknod /tmp/x c 1 1",
        "cp /usr/bin/id /tmp/id && chmod 4755 /tmp/id",
        "echo 1 >/proc/sys/kernel/sysrq",
        "echo x >/sys/kernel/uevent_helper",
        "keyctl show @us",
        "setpriv --reuid=70009 id",
        "loginctl",
        "newuidmap 1 0 0 1",
        "modprobe dummy",
        "reboot",
    ):
        answer = shell(service, "eve", f"({command}) >/dev/null 2>&1 && echo done || echo failed")
        assert answer == "failed\n", command
    assert service.sudo(f"systemctl is-active {unit(uids['alice'])}") == "active\n"


def test_eve_writes_nothing_but_her_files_and_memory(service: Service) -> None:
    write = """
import os, pathlib
places = ("/", "/etc", "/opt/jupyter", "/opt/hubstead/environment/releases", "/var", "/var/tmp", "/usr/local", "/home", "/dev", "/sys", "/proc", "/course", "/root", "/run/systemd")
written, full = [], {}
for place in places:
    try:
        pathlib.Path(place, "x").write_text("x")
        written.append(place)
    except OSError as error:
        assert error.errno in (1, 2, 13, 30), (place, error)
for place, chunk in (("/tmp", 1 << 24), ("/run", 1 << 20), ("/dev/shm", 1 << 24)):
    path, size = pathlib.Path(place, "hoard"), 0
    with path.open("wb", buffering=0) as file:
        try:
            while size < 4 << 30:
                size += file.write(bytes(chunk))
        except OSError as error:
            full[place] = error.errno, size >> 20
    path.unlink()
[written, full]
"""  # noqa: E501
    with service.person("eve").kernel() as kernel:
        *lines, last = write.strip().splitlines()
        found = json.loads(
            kernel.run("\n".join([*lines, f"import json; print(json.dumps({last}))"]))
        )
    assert found[0] == []
    assert {place: number for place, (number, _) in found[1].items()} == dict.fromkeys(
        ("/tmp", "/run", "/dev/shm"), 28
    )
    assert 500 <= found[1]["/dev/shm"][1] <= 512
    assert 1000 <= found[1]["/tmp"][1] <= 1024 and found[1]["/run"][1] <= 16


def test_queues_shared_memory_and_abstract_sockets_are_each_ones_own(
    service: Service, uids: dict[str, int]
) -> None:
    leave = """
import ctypes, socket
libc = ctypes.CDLL(None, use_errno=True)
queue = libc.mq_open(b"/of-alice", 0o102, 0o666, None)
memory = libc.shmget(4242, 4096, 0o1666)
open("/dev/shm/of-alice", "w").write("x")
open("/tmp/of-alice", "w").write("x")
abstract = socket.socket(socket.AF_UNIX)
abstract.bind("\\0of-alice")
abstract.listen()
print(queue >= 0, memory >= 0)
"""
    look = """
import ctypes, os, socket
libc = ctypes.CDLL(None, use_errno=True)
def connects():
    try:
        socket.socket(socket.AF_UNIX).connect("\\0of-alice")
        return True
    except OSError:
        return False
[libc.mq_open(b"/of-alice", 0), libc.shmget(4242, 4096, 0), os.path.exists("/dev/shm/of-alice"), os.path.exists("/tmp/of-alice"), connects()]
"""  # noqa: E501
    with service.person("alice").kernel() as alice:
        assert alice.run(leave) == "True True\n"
        assert inside(service, "eve", look) == [-1, -1, False, False, False]
        assert inside(service, "alice", look)[2:] == [True, True, True]
    there = service.sudo("ls /dev/shm /dev/mqueue /tmp; ipcs -m")
    assert "of-alice" not in there and "0x00001092" not in there


def test_the_helpers_socket_is_the_hubs_alone(service: Service) -> None:
    stranger = f"setpriv --reuid={STRANGER} --regid={STRANGER} --clear-groups"
    assert "PermissionError" in ask(service, {"look": "alice"}, stranger)
    assert json.loads(ask(service, {"look": "alice"}))["runs"] is True


def test_who_has_taken_over_the_hub_starts_peoples_servers_and_nothing_else(
    service: Service, uids: dict[str, int]
) -> None:

    def services() -> list[str]:
        listed = "systemctl list-units --type=service --no-legend --plain | awk '{print $1,$3}'"
        return [line for line in service.sudo(listed).splitlines() if "people-" not in line]

    before = services()
    start: dict[str, Any] = {"start": "eve", "environment": {}, "arguments": []}
    none = '{"error": "the request is none"}\n'
    for change in (
        {"start": "../eve"},
        {"start": ""},
        {"start": "eve\n"},
        {"start": "@70000"},
        {"start": "EVE"},
        {"unit": "ssh.service"},
        {"uid": 0},
        {"environment": {"LD_PRELOAD": "/home/x"}},
        {"environment": {"PATH": "/tmp"}},
        {"environment": {"JUPYTERHUB_X": "a\nLD_PRELOAD=x"}},
        {"environment": {"HUBSTEAD_ARGUMENTS": "x"}},
        {"environment": {"JUPYTERHUB_X": 1}},
        {"arguments": ["x"]},
        {"arguments": ["--X.y=a b"]},
        {"arguments": ["--config=/x"]},
        {"arguments": "x"},
        {"environment": []},
        {"stop": "alice"},
    ):
        assert ask(service, start | change) == none, change
    for text in ("{}", "[" * 999, "x" * 99999, "\\udcff", '{"stop": ".removed"}', "null", "[]"):
        assert ask(service, text) == none, text[:20]
    # whose directory is no person's
    service.sudo(f"mkdir {FILES}/nobody; ln -s alice {FILES}/link")
    for name in ("nobody", "link", "missing"):
        assert "error" in json.loads(ask(service, start | {"start": name}))
    service.sudo(f"rmdir {FILES}/nobody; rm {FILES}/link")
    assert services() == before


def test_what_the_hub_says_is_text_in_the_server_and_nothing_else(service: Service) -> None:
    odd = "a \"b\" 'c' $HOME `id` \\n %i ${PATH} #x; y"
    service.person("eve").stop_server()
    request = {"start": "eve", "environment": {"JUPYTERHUB_ODD": odd}, "arguments": []}
    answer = json.loads(ask(service, request))
    pid = service.sudo(f"systemctl show -P MainPID {answer['unit']}").strip()
    if pid != "0":
        lines = service.sudo(f"tr '\\0' '\\n' </proc/{pid}/environ").splitlines()
        assert f"JUPYTERHUB_ODD={odd}" in lines
    assert ask(service, {"stop": "eve"}) == "{}\n"
    assert service.sudo("ls /run/netns").split().count("hubstead-70001") <= 1


def test_the_hubs_restart_costs_nothing(service: Service, uids: dict[str, int]) -> None:
    with service.person("alice").kernel() as kernel:
        kernel.run("memory = 'kept'")
        before = main_pid(service, uids["alice"])
        for command in ("restart jupyterhub", "kill --signal=KILL jupyterhub"):
            service.sudo(f"systemctl {command}")
            patiently(kernel.connect)
            assert kernel.run("print(memory)") == "kept\n"
        service.check_works()
        assert main_pid(service, uids["alice"]) == before


@pytest.mark.every
def test_a_deploy_leaves_servers_and_new_limits_count_from_the_next_start(
    service: Service, uids: dict[str, int]
) -> None:
    def limit() -> str:
        return service.sudo(f"systemctl show -P TasksMax {unit(uids['alice'])}").strip()

    with service.person("alice").kernel() as kernel:
        kernel.run("memory = 'kept'")
        run = service.run("--data", "hub_process_limit=300", "deploys/all.py")
        assert run.status == 0, run.end
        patiently(kernel.connect)
        assert kernel.run("print(memory)") == "kept\n"
    patiently(service.person("alice").stop_server)
    service.person("alice")
    assert limit() == "300"
    assert service.run().status == 0
    patiently(service.person("alice").stop_server)
    service.person("alice")
    assert limit() == "512"


def test_a_stop_leaves_nothing(service: Service, uids: dict[str, int]) -> None:
    alice = service.person("alice")
    # what does not end by itself
    stubborn = "import subprocess; subprocess.Popen(['setsid', 'sh', '-c', 'trap \"\" TERM HUP; sleep 999'])"  # noqa: E501
    with alice.kernel() as kernel:
        kernel.run(stubborn)
    assert service.sudo(f"pgrep -c -u {uids['alice']}").strip() != "0"
    patiently(alice.stop_server)
    assert service.sudo(f"pgrep -c -u {uids['alice']} || true") == "0\n"
    assert service.sudo(f"ip link show hs{uids['alice']} 2>&1 || true").startswith("Device")
    assert f"hubstead-{uids['alice']}" not in service.sudo("ip netns list")
    assert service.sudo(f"ls /run/hubstead-servers/{uids['alice']} 2>&1 || true").startswith("ls:")


def test_who_ends_their_server_is_offered_another_and_who_is_removed_has_none(
    service: Service, uids: dict[str, int]
) -> None:
    eve = service.person("eve")
    service.sudo(f"systemctl kill --signal=KILL {unit(uids['eve'])}")
    eventually("the Hub has noticed", lambda: not eve.api("GET", "/users/eve")["servers"], 60)
    service.person("eve")
    service.sudo("hub-users remove eve --yes")
    service.forget()
    eventually(
        "her server ends", lambda: service.sudo(f"pgrep -c -u {uids['eve']} || true") == "0\n", 90
    )
    eventually("her files are away", lambda: "eve" not in service.sudo(f"ls {FILES}"), 60)
    service.sudo(f"rm -r {FILES}/.removed/eve.*")


def test_who_cannot_start_reads_why(service: Service) -> None:
    frank, current = service.person("frank"), "/opt/hubstead/environment/current"
    patiently(frank.stop_server)
    release = service.sudo(f"readlink {current}").strip()
    service.sudo(f"ln -sfn releases/none {current}")
    try:
        answer = frank.request("POST", "/hub/api/users/frank/server")
        assert answer.status_code == 503, answer.text
        assert "the server did not start; on the Hub's host, `journalctl" in answer.text
    finally:
        service.sudo(f"ln -sfn {release} {current}")
    service.person("frank")


def test_doctor_and_verify_find_it_well(service: Service) -> None:
    run = service.run("deploys/verify.py")
    assert run.status == 0, run.end
    # this machine knows no address of the service's names, which fails alone
    found = service.run("deploys/doctor.py").output
    assert [line[8:] for line in found.splitlines() if line.startswith("fails ")] == [
        line for line in re.findall("(?m)^fails   (The service's names.*)", found)
    ]
    for subject in ("What starts people's servers", "People's environment", "The users' network"):
        assert f"holds   {subject}" in found


def test_groups_give_limits_and_folders_as_with_docker(service: Service) -> None:
    def uid(name: str) -> int:
        return int(service.sudo(f"stat -c %u {FILES}/{name}"))

    def limits(name: str) -> list[str]:
        which = "MemoryMax", "CPUQuotaPerSecUSec"
        shown = service.sudo(f"systemctl show -p {','.join(which)} {unit(uid(name))}")
        found = dict(line.split("=") for line in shown.splitlines())
        return [found[each] for each in which]

    groups = {
        "physics": PHYSICS,
        "small": {"members": ["ada"], "memory": "600M", "cpus": 1},
        "large": {"members": ["hopper"]},
    }
    profiles = [{"name": "Small"}, {"name": "Large", "memory": "3G", "groups": ["large"]}]
    service.settings = (
        f"hub_groups={json.dumps(groups)}", f"hub_profiles={json.dumps(profiles)}",
    )  # fmt: skip
    service.forget()
    for name in ("alice", "eve"):
        service.person(name)
    main = {name: main_pid(service, uid(name)) for name in ("alice", "eve")}
    for changes in (True, False):
        run = service.run()
        assert run.status == 0 and bool(run.changed) == changes, run.end
    # who was at work goes on
    assert {name: main_pid(service, uid(name)) for name in main} == main
    check_folders(service)
    assert limits("ada") == [str(600 << 20), "1s"]
    assert limits("mallory") == [str(2 << 30), "2s"]
    with service.person("ada").kernel() as kernel, service.person("ada").kernel() as other:
        with pytest.raises(KernelError, match="the kernel died"):
            kernel.run(HOARD)
        assert other.run("print(6 * 7)") == "42\n"

    hopper = service.person("hopper")
    patiently(hopper.stop_server)
    start = f"/hub/api/users/{hopper.username}/server"
    choice = {"user_options": {"profile": "Large"}}
    assert hopper.request("POST", start, json=choice).status_code in (201, 202)
    hopper.start_server()
    assert limits("hopper") == [str(3 << 30), "2s"]

    # who has taken over the Hub gives eve nothing of it
    request = {"start": "eve", "environment": {}, "arguments": [], "groups": ["physics", "large"]}
    assert "not for eve" in ask(service, request | {"profile": "Large"})
    assert main_pid(service, uid("eve")) == main["eve"]
    ask(service, request | {"teaches": ["physics"]})
    assert main_pid(service, uid("eve")) not in ("0", main["eve"])
    shown = service.sudo(f"systemctl show -P DropInPaths -P BindPaths {unit(uid('eve'))}")
    assert "physics" not in shown and limits("eve") == limits("mallory")
    service.forget()

    service.settings = ()
    run = service.run()
    assert run.status == 0, run.end
    patiently(service.person("ada").stop_server)
    assert "shared" not in inside(service, "ada", "import os\nos.listdir('.')")
    assert limits("ada") == limits("mallory")
    service.sudo(f"rm -rf {GROUPS_FILES}")


@pytest.mark.every
def test_from_docker_and_back_everybody_keeps_their_files(
    deployed: Deployed, tmp_path: Path
) -> None:
    service = deployed.alone()
    service.person("alice").notebook("kept.ipynb", "print('kept')")
    before = service.manifest()
    service.settings = ("hub_spawner=systemd",)
    run = service.run()
    assert run.status == 0, run.end
    again = service.run()
    assert (again.status, again.changed) == (0, []), again.end
    patiently(lambda: service.person("alice"))
    assert service.person("alice").cells("kept.ipynb") == ["print('kept')"]
    assert service.sudo("docker ps --all --quiet; docker network ls --quiet -f name=hubstead") == ""
    left = "ls -d /etc/hubstead/docker* /etc/systemd/system/hubstead-docker* 2>/dev/null || true"
    assert service.sudo(left) == ""
    service.settings = ()
    back = service.run()
    assert back.status == 0, back.end
    again = service.run()
    assert (again.status, again.changed) == (0, []), again.end
    patiently(lambda: service.person("alice"))
    assert service.person("alice").cells("kept.ipynb") == ["print('kept')"]
    for name in ("enabled", "chains", "accounts", "networks", "failed"):
        assert service.manifest()[name] == before[name], name
    left = "ls -d /etc/hubstead/people-[ns]* /var/lib/hubstead/server /opt/hubstead/environment"
    assert service.sudo(f"{left} 2>/dev/null || true") == ""
    assert "hubstead1" not in service.sudo("ip -brief link; iptables-save")
