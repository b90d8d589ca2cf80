"""A user's server keeps within its limits, and is stopped when nobody uses it."""

import json
import time
from collections.abc import Iterator

import pytest

from bench.neighbours import LIMITS, Bench
from tests.kit.hub_client import HubClient, Kernel, KernelError
from tests.kit.service import Service, container
from tests.kit.support import eventually

pytestmark = pytest.mark.slow

#: Seconds: the least that the settings allow
IDLE = 10


def test_a_greedy_kernel_is_killed_and_its_server_lives(service: Service) -> None:
    alice, bob = service.person("alice"), service.person("bob")
    with alice.kernel() as greedy, alice.kernel() as other, bob.kernel() as neighbour:
        other.run("memory = neighbour = 'kept'")
        neighbour.run("memory = 'kept'")
        with pytest.raises(KernelError, match="the kernel died"):
            greedy.run("hoard = [b'x' * (1 << 20) for _ in range(3 << 10)]")
        assert alice.server_answers()
        assert neighbour.run("print(memory)") == "kept\n"
        eventually(
            "the kernel runs again",
            lambda: alice.server("GET", f"/kernels/{greedy.identity}")["execution_state"] != "dead",
        )
    service.check_works()


def test_a_swarm_of_processes_stops_at_the_limit(service: Service) -> None:
    swarm = """
import subprocess
started = []
try:
    while len(started) < 2000:
        started.append(subprocess.Popen("cat", stdin=subprocess.PIPE))
except BlockingIOError:
    print("no more")
for each in started:
    each.kill()
    each.wait()
"""
    with service.person("alice").kernel() as kernel:
        assert kernel.run(swarm) == "no more\n"
        assert kernel.run("print(6*7)") == "42\n"


def test_a_users_server_has_no_power_over_the_host(service: Service) -> None:
    look = """
import os, pathlib, subprocess
status = dict(line.split(":\\t") for line in open("/proc/self/status").read().splitlines())
print(os.getuid(), status["NoNewPrivs"], {status["CapEff"], status["CapPrm"], status["CapBnd"]})
print([str(p) for p in pathlib.Path("/").rglob("docker.sock")])
print([d for d in os.listdir("/dev") if d in ("sda", "vda", "mem", "kmsg", "fuse")])
for command in (["su", "-c", "id"], ["mount", "-t", "tmpfs", "none", "/mnt"]):
    print(subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True).returncode != 0)
for path in ("/etc/passwd", "/opt/jupyter/bin/python", "/proc/sys/kernel/core_pattern"):
    print(os.access(path, os.W_OK))
"""
    with service.person("alice").kernel() as kernel:
        lines = kernel.run(look).splitlines()
    uid, _, rest = lines[0].partition(" ")
    assert 70000 <= int(uid) < 80000 and rest == "1 {'0000000000000000'}"
    assert lines[1:] == ["[]", "[]", *["True"] * 2, *["False"] * 3]


def test_docker_runs_it_as_the_settings_say(service: Service) -> None:
    service.person("alice")
    (described,) = json.loads(service.sudo(f"docker inspect {container('alice')}"))
    host = described["HostConfig"]
    assert host["Privileged"] is False
    assert host["SecurityOpt"] == ["no-new-privileges"]
    assert host["CapDrop"] == ["ALL"] and not host["CapAdd"]
    assert (host["Memory"], host["NanoCpus"] or host["CpuQuota"]) == (2 << 30, 200_000)
    assert host["PidsLimit"] == 512
    assert (host["CgroupParent"], host["OomScoreAdj"]) == ("hubstead-users.slice", 500)
    assert host["LogConfig"]["Config"] == {"max-size": "10m", "max-file": "3"}
    assert host["PidMode"] == host["UTSMode"] == "" and host["IpcMode"] != "host"
    assert host["ReadonlyRootfs"] is True and sorted(host["Tmpfs"]) == ["/run", "/tmp"]
    mounts = [(mount["Type"], mount["Source"]) for mount in described["Mounts"]]
    assert mounts == [("bind", "/srv/hubstead/files/alice")]
    owner = service.sudo("stat -c %u /srv/hubstead/files/alice").strip()
    assert described["Config"]["User"] == f"{owner}:59000"


def test_the_bench_of_neighbours_measures_everything(service: Service) -> None:
    """As `make bench`, but with one person, for a moment."""
    table = Bench(people=1, seconds=1).report(service).splitlines()
    assert [line.split("  ")[0] for line in table[1:]] == list(LIMITS)
    for line in table[1:]:
        saves, *_ = line.removeprefix(
            next(name for name in LIMITS if line.startswith(name))
        ).split()
        assert int(saves) > 0, line


@pytest.fixture
def impatient(service: Service) -> Iterator[None]:
    """A service that stops idle servers soon, and busy ones when they were silent for long."""
    never = {"night": {"members": ["erin"], "idle_timeout": 0}}
    limits = (
        f"hub_idle_timeout={IDLE}", f"hub_busy_max={10 * IDLE}", f"hub_groups={json.dumps(never)}",
    )  # fmt: skip
    data = [word for each in limits for word in ("--data", each)]
    run = service.run(*data, "deploys/jupyterhub.py")
    assert (run.status, run.changed[-1]) == (0, "jupyterhub | Run JupyterHub"), run.end
    yield
    assert service.run("deploys/jupyterhub.py").status == 0


def runs(person: HubClient) -> bool:
    return bool(person.api("GET", f"/users/{person.username}")["servers"])


def test_an_idle_server_is_stopped_and_a_busy_one_is_not(service: Service, impatient: None) -> None:
    """Nobody has a browser open; at first two are busy without a word, for longer than they may."""
    # with the limits of now
    service.stop_servers()
    # one after the other: whose server waits for that of the next is idle
    erin, carol = service.person("erin"), service.person("carol")
    carol.notebook("kept.ipynb", "1 + 1")
    with carol.kernel() as kernel:
        kernel.run("import time")
    dan = service.person("dan")
    dan.terminal("true")
    alice = service.person("alice")
    begun = time.monotonic()
    with alice.kernel() as kernel:
        kernel.begin("import time; time.sleep(6000)")
    bob = service.person("bob")

    def asleep() -> bool:
        return service.sudo("pgrep -fc '^sleep 6001' || true").strip() != "0"

    # what is typed into a shell that is just starting may be lost
    eventually("bob's process runs", lambda: bob.terminal("sleep 6001") or asleep())
    eventually("the idle servers are stopped", lambda: not (runs(carol) or runs(dan)))
    assert runs(alice) and runs(bob)
    assert asleep()
    # who does nothing but compute is not held forever
    while runs(alice) or runs(bob):
        assert time.monotonic() < begun + 40 * IDLE, "what is silent for too long still runs"
        for person in (alice, bob):
            assert runs(person) or time.monotonic() > begun + 10 * IDLE, person.username
        time.sleep(1)
    assert service.person("carol").cells("kept.ipynb") == ["1 + 1"]
    # whose group says so
    assert runs(erin)


def test_nobody_is_idle_because_the_hub_was_away(service: Service, impatient: None) -> None:
    """For longer than the limit, while somebody works and nobody can report it."""
    service.stop_servers()
    alice = service.person("alice")
    with alice.kernel() as kernel:
        started = alice.server("GET", "/status")["started"]
        service.sudo("systemctl stop jupyterhub")
        work(kernel, 4 * IDLE)
        service.sudo("systemctl start jupyterhub")
        work(kernel, 2 * IDLE)
    assert alice.server("GET", "/status")["started"] == started


def work(kernel: Kernel, seconds: float) -> None:
    """A short cell now and then, as people have."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        assert kernel.run("print(6*7)") == "42\n"
        time.sleep(1)


#: A package without an index: a wheel is an archive with a list (PEP 427)
WHEEL = """
import subprocess, sys, zipfile
about = "Metadata-Version: 2.1\\nName: shown\\nVersion: 1.0\\n"
kind = "Wheel-Version: 1.0\\nGenerator: a test\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n"
with zipfile.ZipFile("shown-1.0-py3-none-any.whl", "w") as wheel:
    wheel.writestr("shown.py", "import sys; prefix = sys.prefix")
    wheel.writestr("shown-1.0.dist-info/METADATA", about)
    wheel.writestr("shown-1.0.dist-info/WHEEL", kind)
    wheel.writestr("shown-1.0.dist-info/RECORD", "")
def run(line):
    done = subprocess.run(line, shell=True, capture_output=True, text=True)
    print(done.stdout if done.returncode == 0 else done.stderr, end="")
"""


def test_people_install_packages_and_make_environments(service: Service) -> None:
    alice = service.person("alice")
    with alice.kernel() as kernel:
        kernel.run(WHEEL)
        kernel.run("run('pip install -q --no-index ./shown-1.0-py3-none-any.whl')")
        kernel.run("run('python3 -m venv own')")
        kernel.run("run('own/bin/pip install -q --no-index ./shown-1.0-py3-none-any.whl')")
        everywhere = (
            "run('find / -xdev -type f -perm -002 -not -path \"/proc/*\" 2>/dev/null; true')"
        )
        assert kernel.run(everywhere) == ""
    alice.stop_server()
    with service.person("alice").kernel() as kernel:
        kernel.run(WHEEL)
        assert kernel.run("import shown; print(shown.__file__)").startswith("/home/jovyan/.local/")
        show = "run('own/bin/python -c \"import shown; print(shown.prefix)\"')"
        assert kernel.run(show) == "/home/jovyan/own\n"


THEME = "@jupyterlab/apputils-extension:themes"


@pytest.mark.every
def test_a_mistake_in_ones_own_configuration_is_passed_over(service: Service) -> None:
    """By the owner's word; what was set in JupyterLab counts all the same."""
    alice = service.person("alice")
    with alice.kernel() as kernel:
        kernel.run("""
import os
os.makedirs(os.path.expanduser("~/.jupyter"), exist_ok=True)
with open(os.path.expanduser("~/.jupyter/jupyter_server_config.py"), "w") as file:
    file.write("raise SystemExit(1)")
""")
    theme = {"raw": '{"theme": "JupyterLab Dark"}'}
    path = f"{alice.site.base}user/alice/lab/api/settings/{THEME}"
    assert alice.request("PUT", path, json=theme).status_code == 204
    alice.stop_server()
    run = service.run("--data", "hub_user_config=False", "deploys/jupyterhub.py")
    assert run.status == 0, run.end
    try:
        alice.start_server()
        settings = alice.request("GET", path).raise_for_status().json()
        assert settings["settings"] == {"theme": "JupyterLab Dark"}
        with alice.kernel() as kernel:
            kernel.run(
                "import os; os.unlink(os.path.expanduser('~/.jupyter/jupyter_server_config.py'))"
            )
    finally:
        assert service.run("deploys/jupyterhub.py").status == 0
