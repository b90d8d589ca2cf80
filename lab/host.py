"""One lab host: its root filesystem, its boot and its end."""

import os
import shutil
import signal
import socket
import subprocess
import time
import uuid
from collections.abc import Callable, Iterable
from pathlib import Path

from lab import image, network
from lab.state import USER, LabError, Record, hosts_file, new_key, write

SUPERVISE = Path(__file__).with_name("supervise.sh")
CGROUPS = Path("/sys/fs/cgroup")
# nspawn mounts cgroup v1 controllers read-only, and then no limit holds and Docker does not run.
INIT = """\
#!/bin/sh
for c in /sys/fs/cgroup/*; do mount -o remount,bind,rw "$c"; done
exec /lib/systemd/systemd
"""


def make_root(host: Record, public_key: str) -> None:
    """A bare host, as a cloud image is after its first boot."""
    image.unpack(host.os, host.directory / "root.bare")
    root = host.directory / "root.bare"
    etc = root / "etc"
    write(etc / "hostname", host.name.split(".")[0] + "\n")
    write(etc / "hosts", "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n")
    write(etc / "machine-id", uuid.uuid4().hex + "\n", 0o444)
    write(etc / "resolv.conf", "".join(f"nameserver {s}\n" for s in network.nameservers()))
    # Sorts before systemd's own 80-container-host0.network.
    write(etc / "systemd/network/10-host0.network", _network(host))
    write(root / "usr/sbin/lab-init", INIT, 0o755)
    new_key(etc / "ssh/ssh_host_ed25519_key", f"root@{host.name}")
    write(
        etc / "ssh/sshd_config.d/50-cloud.conf",
        "PermitRootLogin no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n",
    )
    write(etc / "sudoers.d/90-cloud", f"{USER} ALL=(ALL) NOPASSWD:ALL\n", 0o440)
    subprocess.run(["chroot", root, "useradd", "-m", "-s", "/bin/bash", "-p", "*", USER], check=True)
    ssh = root / "home" / USER / ".ssh"
    ssh.mkdir(mode=0o700)
    write(ssh / "authorized_keys", public_key, 0o600)
    subprocess.run(["chroot", root, "chown", "-R", f"{USER}:", f"/home/{USER}/.ssh"], check=True)
    for verb, unit in (("enable", "systemd-networkd"), ("mask", "systemd-modules-load")):
        subprocess.run(["systemctl", "--quiet", f"--root={root}", verb, unit], check=True)
    root.rename(host.root)


def _network(host: Record) -> str:
    extra = "".join(f"Address={address}/32\n" for address in host.addresses)
    return f"""\
[Match]
Name=host0

[Network]
Address={host.address}/24
Address={host.address6}/64
{extra}Gateway={network.GATEWAY}
IPv6AcceptRA=no
"""


def refresh_names(host: Record, hosts: Iterable[Record]) -> None:
    path = host.root / "etc/hosts"
    current = path.read_text()
    new = hosts_file(current, host, hosts)
    if new != current:
        write(path, new)


def public_host_key(host: Record) -> str:
    return (host.root / "etc/ssh/ssh_host_ed25519_key.pub").read_text()


def is_running(host: Record) -> bool:
    return bool(_supervisor(host))


def _supervisor(host: Record) -> int | None:
    """The supervisor's process, if it is this host's and no later one of the same number."""
    try:
        pid = int((host.directory / "pid").read_text())
        command = Path("/proc", str(pid), "cmdline").read_bytes().split(b"\0")
    except (FileNotFoundError, ProcessLookupError, ValueError):
        return None
    return pid if str(host.root).encode() in command else None


def _hierarchies() -> list[Path]:
    """Where control groups are made: one tree (cgroup v2), or one a controller (v1, hybrid)."""
    if (CGROUPS / "cgroup.procs").exists():
        return [CGROUPS]
    return sorted(path.parent for path in CGROUPS.glob("*/cgroup.procs"))


def _groups(host: Record) -> list[Path]:
    return [hierarchy / "hubstead-lab" / host.name for hierarchy in _hierarchies()]


def _make_groups(host: Record) -> None:
    for group in _groups(host):
        for path in (group.parent, group):
            path.mkdir(exist_ok=True)
            _pass_controllers(path)
        for limit in (group / "memory.limit_in_bytes", group / "memory.max"):  # v1, v2
            if host.memory and limit.exists():
                limit.write_text(str(host.memory * 1024 * 1024))


def _pass_controllers(path: Path) -> None:
    """Make a new group's controllers usable in its children."""
    if (path / "cgroup.subtree_control").exists():
        for controller in (path / "cgroup.controllers").read_text().split():
            (path / "cgroup.subtree_control").write_text(f"+{controller}")
    if (path / "cpuset.cpus").exists() and (path / "cgroup.clone_children").exists():
        for file in ("cpuset.cpus", "cpuset.mems"):  # v1: empty in a new group
            (path / file).write_text((path.parent / file).read_text())
        (path / "cgroup.clone_children").write_text("1")


def boot(host: Record) -> None:
    """Start the host; `wait` says when it is up."""
    _make_groups(host)
    command = ["setsid", "--fork", str(SUPERVISE), str(host.directory / "pid")]
    command += ["systemd-nspawn", "--quiet", "-D", str(host.root), "-M", host.machine]
    command += ["--register=no", "--keep-unit", f"--network-bridge={network.BRIDGE}"]
    command += ["--private-users=no", "--resolv-conf=off", "--timezone=off", "--link-journal=no"]
    command += ["--capability=all", "--system-call-filter=@keyring bpf"]
    command += ["--kill-signal=SIGRTMIN+3", "/usr/sbin/lab-init"]
    groups = " ".join(str(group) for group in _groups(host))
    environment = {"PATH": os.environ.get("PATH", os.defpath), "LAB_CGROUPS": groups}
    (host.directory / "pid").unlink(missing_ok=True)
    with host.console.open("w") as console:
        subprocess.run(
            command,
            check=True,
            cwd="/",
            env=environment,
            umask=0o022,
            stdin=subprocess.DEVNULL,
            stdout=console,
            stderr=subprocess.STDOUT,
        )


def wait(host: Record, ssh: list[str], progress: Callable[[str], None], seconds: int = 90) -> None:
    """Until SSH answers and systemd has settled; raises LabError with the console's end."""
    deadline = time.monotonic() + seconds
    time.sleep(0.2)
    reason = "SSH does not answer"
    while time.monotonic() < deadline and is_running(host):
        if not _answers(host.address):
            time.sleep(0.1)
            continue
        command = [*ssh, "-o", "ConnectTimeout=5", host.name, "systemctl is-system-running --wait"]
        done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
        state = done.stdout.strip()
        if state in ("running", "degraded"):
            progress(f"{host.name} is up at {host.address}" + (" (degraded)" * (state != "running")))
            return
        reason = done.stderr.strip() or f"systemd says {state}"
        time.sleep(0.2)
    if not is_running(host):
        reason = "systemd-nspawn ended"
    tail = "\n".join(host.console.read_text(errors="replace").splitlines()[-15:])
    raise LabError(f"{host.name} did not boot: {reason}. The end of {host.console}:\n{tail}")


def _answers(address: str) -> bool:
    try:
        with socket.create_connection((address, 22), timeout=1):
            return True
    except OSError:
        return False


def kill(host: Record) -> None:
    """The power cut: every process at once, and what the kernel keeps for them."""
    pid = _supervisor(host)
    if pid:
        os.killpg(pid, signal.SIGKILL)
    groups = _groups(host)
    _until(lambda: not _kill_members(groups[0]), f"the processes of {host.name} do not end")
    if network.exists(host.interface):
        # The kernel removes it some time after the last process; a new boot cannot wait.
        subprocess.run(["ip", "link", "delete", host.interface], capture_output=True)
    _until(lambda: not network.exists(host.interface), f"{host.interface} does not go away")
    for group in groups:
        _until(lambda group=group: _remove_group(group), f"{group} is still in use")
    (host.directory / "pid").unlink(missing_ok=True)


def _kill_members(group: Path) -> bool:
    pids = [int(pid) for path in group.rglob("cgroup.procs") for pid in path.read_text().split()]
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    return bool(pids)


def _remove_group(group: Path) -> bool:
    subprocess.run(
        ["find", str(group), "-depth", "-type", "d", "-exec", "rmdir", "{}", "+"], capture_output=True
    )
    return not group.exists()


def _until(done: Callable[[], bool], otherwise: str, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not done():
        if time.monotonic() > deadline:
            raise LabError(f"After {seconds:.0f} s {otherwise}.")
        time.sleep(0.05)


def remove(host: Record) -> None:
    """Kill the host and delete its files."""
    kill(host)
    for group in _groups(host):
        if group.parent.exists() and not any(path.is_dir() for path in group.parent.iterdir()):
            group.parent.rmdir()
    shutil.rmtree(Path("/run/systemd/nspawn/propagate", host.machine), ignore_errors=True)
    subprocess.run(["rm", "-rf", "--one-file-system", str(host.directory)], check=True)
