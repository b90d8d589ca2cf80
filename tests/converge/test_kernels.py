"""The kernels of people's servers: what the setting names is there, and what it does not is not."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import pytest

from tests.attacks.test_docker_filter import Hub, check_refused
from tests.kit.hub_client import HubClient, KernelError, patiently
from tests.kit.service import Service
from tests.kit.support import Run

pytestmark = pytest.mark.slow

ROLES = ("deploys/docker.py", "deploys/jupyterhub.py")
NAME = "$(cat /opt/hubstead/singleuser/image)"
OWN = "mine/course:2026"
BLOCKED = "FORWARD -i docker0 -j REJECT"


def deploy(service: Service, *kernels: str) -> Run:
    service.settings = (f"hub_kernels={json.dumps(kernels)}",)
    return service.run(*ROLES)


def settle(service: Service, *kernels: str) -> None:
    """Deploy with these kernels, twice."""
    run = deploy(service, *kernels)
    assert run.status == 0, run.end
    second = service.run(*ROLES)
    assert (second.status, second.changed) == (0, []), second.end


def anew(service: Service, name: str) -> HubClient:
    """Somebody whose server started just now."""
    person = service.person(name)
    patiently(person.stop_server)
    return service.person(name)


def kernels(person: HubClient) -> set[str]:
    return {*person.server("GET", "/kernelspecs")["kernelspecs"]}


def layers(service: Service) -> list[str]:
    template = "{{json .RootFS.Layers}}"
    listed: list[str] = json.loads(
        service.sudo(f"docker image inspect --format '{template}' {NAME}")
    )
    return listed


def cache(service: Service) -> str:
    template = "{{range .BuildCache}}{{println .ID}}{{end}}"
    return service.sudo(f"docker system df --verbose --format '{template}' | sort")


@pytest.fixture(scope="module")
def school(service: Service) -> Iterator[Service]:
    yield service
    service.settings = ()
    assert service.run(*ROLES).status == 0


def test_a_cell_runs_in_each_and_what_is_taken_out_is_gone(school: Service) -> None:
    before = cache(school)
    settle(school, "python", "bash")
    first = layers(school)
    settle(school, "python", "bash", "c")
    # all but what tells of people and of their home, which comes last, is what it was
    common = [one for one, other in zip(first, layers(school), strict=False) if one == other]
    assert common == first[:-2]
    assert cache(school) == before
    ada = anew(school, "ada")
    assert kernels(ada) == {"python3", "bash", "c"}
    with ada.kernel("bash") as bash:
        bash.run("x=42")
        assert bash.run("echo $x") == "42\n"
        with pytest.raises(KernelError, match="127"):
            bash.run("nosuch")
    with ada.kernel("c") as c:
        said = c.run('#include <stdio.h>\nint main() { printf("%ld\\n", __STDC_VERSION__); }')
        assert said == "201112\n"
        with pytest.raises(KernelError, match="GCC exited with code 1"):
            c.run("int main( {")
        with pytest.raises(KernelError, match="exited with code 3"):
            c.run("int main() { return 3; }")
        # all of it, also what comes just before the end
        lots = '#include <stdio.h>\nint main() { for (int i = 0; i < 99999; i++) puts("x"); }'
        assert c.run(lots) == "x\n" * 99999
    settle(school, "bash")
    assert kernels(ada) == {"python3", "bash", "c"}
    assert kernels(anew(school, "ada")) == {"python3", "bash"}


def test_a_kernel_that_cannot_be_built_leaves_the_image_that_works(school: Service) -> None:
    settle(school, "bash")
    image = school.sudo(f"echo {NAME}")
    school.sudo(f"iptables -I {BLOCKED}")
    try:
        run = deploy(school, "bash", "r")
    finally:
        school.sudo(f"iptables -D {BLOCKED}")
    assert run.status == 1
    assert "The users' image was not built" in run.output
    assert "apt-get" in run.output
    assert school.sudo(f"echo {NAME}") == image
    school.sudo("docker system prune --all --force; systemctl restart hubstead-holder")
    person = anew(school, "bob")
    with person.kernel("bash") as bash:
        assert bash.run("echo $((6*7))") == "42\n"


def test_people_start_images_that_are_allowed_and_no_others(school: Service) -> None:
    settle(school, "bash")
    school.sudo(
        f"docker build --quiet --tag {OWN} - <<END\nFROM {NAME}\nUSER root\n"
        "RUN echo 2026 >/etc/course\nUSER jovyan\nEND"
    )
    profiles = [{"name": "Standard"}, {"name": "Course", "image": OWN}]
    school.settings += (
        f'hub_allowed_images=["{OWN}"]', f"hub_profiles={json.dumps(profiles)}",
    )  # fmt: skip
    run = school.run(*ROLES)
    assert run.status == 0, run.end
    second = school.run(*ROLES)
    assert (second.status, second.changed) == (0, []), second.end
    ada = school.person("ada")
    server = f"{ada.site.base}hub/api/users/ada/server"
    for options, course in (
        ({"profile": "Course"}, "True\n"),
        ({"image": OWN}, "True\n"),
        ({"profile": "Standard"}, "False\n"),
    ):
        patiently(ada.stop_server)
        ada.request("POST", server, json={"user_options": options}).raise_for_status()
        ada.start_server()
        with ada.kernel() as kernel:
            assert kernel.run("import os; print(os.path.exists('/etc/course'))") == course
    patiently(ada.stop_server)
    refused = ada.request("POST", server, json={"user_options": {"image": "debian:trixie"}})
    assert refused.status_code == 400, refused.text
    # nor does the filter pass what the Hub did not refuse
    hub = Hub(school, OWN)
    others = ("debian:trixie", f"{OWN}0", "mine/course", f"registry.example.org/{OWN}")
    check_refused(school, hub, {image: hub.altered(Image=image) for image in others})
    ada.start_server()


#: A cell that says its version, one that keeps something, one that prints it, and one that fails
CELLS = {
    "python3": ("import sys; print(sys.version)", "x = 42", "print(x)", "1/0"),
    "bash": ("echo $BASH_VERSION", "x=42", "echo $x", "false"),
    "cpp": (
        "std::cout << __cplusplus << std::endl;",
        "struct A { int a; }; int twice(A a) { return 2 * a.a; } A x{21};",
        "std::cout << twice(x) << std::endl;",
        "nosuch();",
    ),
    "java": (
        "System.out.println(Runtime.version())",
        "int x = 42;",
        "System.out.println(x)",
        "int y = 1 / 0;",
    ),
    "octave": ("disp(version())", "x = 42;", "disp(x)", "nosuch(1)"),
    "ir": ("cat(R.version.string)", "x <- 42", "cat(x)", "stop('bad')"),
}  # fmt: skip
#: Bytes, of control groups' version 2 or 1
MEMORY = "cat /sys/fs/cgroup/memory.peak /sys/fs/cgroup/memory/memory.max_usage_in_bytes; true"
WRITABLE = "find / -xdev -type f -perm -002 -not -path '/proc/*' 2>/dev/null; true"


@pytest.mark.every
def test_all_seven_run_in_one_server(school: Service) -> None:
    settle(school, "bash", "c", "cpp", "java", "octave", "r")
    ada = anew(school, "ada")
    assert kernels(ada) == {*CELLS, "c"}
    open_ones = {name: ada.kernel(name) for name in CELLS}
    for name, (version, keep, say, _) in CELLS.items():
        print(name, open_ones[name].run(version).strip())
        open_ones[name].run(keep)
        assert open_ones[name].run(say).strip() == "42", name
    for name, (_, _, say, fail) in CELLS.items():
        with pytest.raises(KernelError):
            open_ones[name].run(fail)
        # R of Debian 12 skips what comes just after an error, as if it had been sent before
        time.sleep(2)
        # the error took nothing with it
        assert open_ones[name].run(say).strip() == "42", name
    with ada.kernel("c") as c:
        assert c.run('#include <stdio.h>\nint main() { puts("42"); }') == "42\n"
    assert "image/png" in open_ones["octave"].show("plot(1:10)")
    assert "image/png" in open_ones["ir"].show("plot(1:10)")
    cpp = open_ones["cpp"]
    with pytest.raises(KernelError, match="begun anew"):
        cpp.run("throw 1;")
    # a cell may take its time
    cpp.run("#include <unistd.h>\nsleep(12);")
    assert cpp.run("std::cout << 42 << std::endl;") == "42\n"
    assert open_ones["bash"].run(WRITABLE) == ""
    print("memory", open_ones["bash"].run(MEMORY))
    for kernel in open_ones.values():
        kernel.socket.close()
