"""A host with several disks, one of them too small: which, is said before anything is touched."""

from __future__ import annotations

import pytest

from tests.kit.service import Service

pytestmark = pytest.mark.slow

#: By where a disk is: its size, what is done to have something there, and what the run says
SMALL = {
    "/var/lib/docker": ("900m", "true", "900 MiB free, and this run needs 1400 there, for {}."),
    "/opt": ("300m", "true", "300 MiB free, and this run needs 700 there, for {}/hubstead."),
    "/var/lib/postgresql": ("20m", "true", "20 MiB free, and this run needs 50 there, for {}."),
    "/srv": ("5m", "true", "5 MiB free, and this run needs 10 there, for {}/hubstead/files."),
    # room enough for either of two
    "/data": (
        "2000m",
        "mkdir /etc/docker /data/opt; ln -s /data/opt /opt/hubstead;"
        """echo '{"debug": true, "data-root": "/data/docker"}' >/etc/docker/daemon.json""",
        "2000 MiB free, and this run needs 2100 there, for /opt/hubstead, {}/docker.",
    ),
}


@pytest.mark.parametrize("place", SMALL)
def test_a_disk_that_is_too_small_is_named(host: Service, place: str) -> None:
    size, prepare, words = SMALL[place]
    host.sudo(f"mkdir -p {place}; mount -t tmpfs -o size={size} disk {place}; {prepare}")
    run = host.run()
    host.sudo(f"rm -rf /etc/docker /opt/hubstead; umount {place}")
    assert run.status == 1
    assert f"own.example.org: the disk is full; no host was touched. {place} has " in run.output
    assert words.format(place) in run.output, run.end
    assert host.sudo("ls -d /var/lib/hubstead /usr/bin/docker 2>&1 || true").count("No such") == 2


@pytest.mark.every
def test_what_a_deployed_host_has_by_now_needs_no_room(service: Service) -> None:
    """People's files are theirs to fill a disk with."""
    service.stop_servers()
    service.sudo("mount -t tmpfs -o size=1m,mode=711 disk /srv/hubstead/files")
    run = service.run()
    service.sudo("umount /srv/hubstead/files")
    assert (run.status, run.changed) == (0, []), run.end
