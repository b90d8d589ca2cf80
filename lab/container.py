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

from lab import acme, cgroups, image, network, pool
from lab.state import USER, LabError, Record, hosts_file, new_key, write

SUPERVISE = Path(__file__).with_name("supervise.sh")
# nspawn mounts cgroup v1 controllers read-only, and then no limit holds and Docker does not run;
# with cgroup v2 there is nothing to remount.
INIT = """\
#!/bin/sh
for c in /sys/fs/cgroup/*; do mount -o remount,bind,rw "$c" 2>/dev/null; done
exec /lib/systemd/systemd
"""


def make_root(host: Record, public_key: str) -> None:
    """A bare host, as a cloud image is after its first boot."""
    bare = host.disk.with_name(f"{host.machine}.bare")
    image.unpack(host.image, bare)
    root = bare / "root"
    etc = root / "etc"
    write(etc / "hostname", host.name.split(".")[0] + "\n")
    write(etc / "hosts", "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n")
    write(etc / "machine-id", uuid.uuid4().hex + "\n", 0o444)
    write(etc / "resolv.conf", "".join(f"nameserver {s}\n" for s in network.nameservers()))
    (etc / "systemd/system.conf.d").mkdir(exist_ok=True)
    # on btrfs, Docker 20.10 would otherwise take subvolumes for its layers; most hosts have ext4
    write(
        etc / "systemd/system.conf.d/lab.conf",
        "[Manager]\nDefaultEnvironment=DOCKER_DRIVER=overlay2\n",
    )
    write(root / "usr/sbin/lab-init", INIT, 0o755)
    new_key(etc / "ssh/ssh_host_ed25519_key", f"root@{host.name}")
    write(
        etc / "ssh/sshd_config.d/50-cloud.conf",
        "PermitRootLogin no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n",
    )
    write(etc / "sudoers.d/90-cloud", f"{USER} ALL=(ALL) NOPASSWD:ALL\n", 0o440)
    subprocess.run(
        ["chroot", root, "useradd", "-m", "-s", "/bin/bash", "-p", "*", USER], check=True
    )
    ssh = root / "home" / USER / ".ssh"
    ssh.mkdir(mode=0o700)
    write(ssh / "authorized_keys", public_key, 0o600)
    subprocess.run(["chroot", root, "chown", "-R", f"{USER}:", f"/home/{USER}/.ssh"], check=True)
    for verb, unit in (("enable", "systemd-networkd"), ("mask", "systemd-modules-load")):
        subprocess.run(["systemctl", "--quiet", f"--root={root}", verb, unit], check=True)
    if host.helper == "acme":
        acme.prepare(host, root)
    pool.delete(host.disk)
    bare.rename(host.disk)


def connect(host: Record) -> None:
    """Give the host its addresses, at its next boot."""
    # sorts before systemd's own 80-container-host0.network
    write(host.root / "etc/systemd/network/10-host0.network", _network(host))


def _network(host: Record) -> str:
    # without the probing that networkd does first for a link-local address (RFC 5227): it would
    # come seconds after the host is up
    extra = "".join(
        f"\n[Address]\nAddress={address}/32\nDuplicateAddressDetection=none\n"
        for address in host.addresses
    )
    return f"""\
[Match]
Name=host0

[Network]
Address={host.address}/24
Address={host.address6}/64
Gateway={network.GATEWAY}
IPv6AcceptRA=no
{extra}"""


def refresh_names(host: Record, hosts: Iterable[Record]) -> None:
    path = host.root / "etc/hosts"
    current = path.read_text()
    new = hosts_file(current, host, hosts)
    if new != current:
        write(path, new)


def authorize(host: Record, public_key: str) -> None:
    """Let the project's key in; it is a new one when someone deleted .lab under a running host."""
    path = host.root / "home" / USER / ".ssh/authorized_keys"
    if public_key not in path.read_text():
        with path.open("a") as file:
            file.write(public_key)


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


def boot(host: Record) -> None:
    """Start the host; `wait` says when it is up."""
    groups = " ".join(map(str, cgroups.make(host.machine, host.memory)))
    command = ["setsid", "--fork", str(SUPERVISE), str(host.directory / "pid")]
    command += ["systemd-nspawn", "--quiet", "-D", str(host.root), "-M", host.machine]
    command += ["--register=no", "--keep-unit", f"--network-bridge={network.BRIDGE}"]
    command += ["--private-users=no", "--resolv-conf=off", "--timezone=off", "--link-journal=no"]
    command += ["--capability=all", "--system-call-filter=@keyring bpf"]
    # no --suppress-sync=yes: it refuses open(2) with O_SYNC, by which runc opens its log
    command += ["--kill-signal=SIGRTMIN+3", "/usr/sbin/lab-init"]
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
    _until((host.directory / "pid").exists, "the lab's supervisor does not start")


def wait(host: Record, ssh: list[str], progress: Callable[[str], None], seconds: int = 120) -> None:
    """Until SSH answers and systemd has settled; raises LabError with the console's end."""
    deadline = time.monotonic() + seconds
    command = [*ssh, "-o", "BatchMode=yes", "-o", "ConnectTimeout=5", host.name]
    command += ["systemctl is-system-running --wait"]
    reason = "SSH does not answer"
    while is_running(host) and (left := deadline - time.monotonic()) > 0:
        if not _answers(host.address):
            time.sleep(0.1)
            continue
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=left
            )
        except subprocess.TimeoutExpired:
            reason = "systemd does not settle"
            break
        state = done.stdout.strip()
        if state == "running":
            return progress(f"{host.name} is up at {host.address}")
        if state == "degraded":
            return progress(f"{host.name} is up at {host.address}, with failed units")
        reason = done.stderr.strip() or f"systemd says {state}"
        time.sleep(0.2)  # SSH refuses users until systemd permits their sessions
    if not is_running(host):
        reason = "systemd-nspawn ended"
    tail = "\n".join(host.console.read_text(errors="replace").splitlines()[-15:])
    raise LabError(f"{host.name} is not up: {reason}. The end of {host.console}:\n{tail}")


def _answers(address: str) -> bool:
    try:
        with socket.create_connection((address, 22), timeout=0.3):
            return True
    except OSError:
        return False


def kill(host: Record) -> None:
    """The power cut: every process at once, and what the kernel keeps for them."""
    pid = _supervisor(host)
    if pid:
        os.killpg(pid, signal.SIGKILL)
    _until(lambda: not cgroups.kill(host.machine), f"the processes of {host.name} do not end")
    if network.exists(host.interface):
        # The kernel removes it some time after the last process; a new boot cannot wait.
        subprocess.run(["ip", "link", "delete", host.interface], capture_output=True)
    _until(lambda: not network.exists(host.interface), f"{host.interface} does not go away")
    _until(lambda: cgroups.remove(host.machine), f"the control groups of {host.name} are in use")
    (host.directory / "pid").unlink(missing_ok=True)


def _until(done: Callable[[], bool], otherwise: str, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not done():
        if time.monotonic() > deadline:
            raise LabError(f"After {seconds:.0f} s {otherwise}.")
        time.sleep(0.05)


def wipe(host: Record) -> None:
    """Kill the host and delete its filesystem."""
    kill(host)
    if host.root.exists():
        status = host.root.stat()
        Path(f"/run/systemd/nspawn/locks/inode-{status.st_dev}:{status.st_ino}").unlink(
            missing_ok=True
        )
    for disk in (host.disk, *host.disk.parent.glob(f"{host.machine}.*")):
        pool.delete(disk)


def remove(host: Record) -> None:
    """Wipe the host and forget it; the record goes last, so that a cut removal can be repeated."""
    wipe(host)
    shutil.rmtree(Path("/run/systemd/nspawn/propagate", host.machine), ignore_errors=True)
    shutil.rmtree(host.directory)
