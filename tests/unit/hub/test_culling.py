"""Whether a server is idle, by what servers reported and when they could."""

from datetime import timedelta

import pytest

from hubstead_hub.culling import SLOW, Arbiter

LIMIT, EVERY, REPORTS = 3600, 300, 300


class Hub:
    """A culler that looks at one server as time goes by."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.arbiter = Arbiter(EVERY, REPORTS, lambda: self.now)

    def culls_after(self, seconds: float, idle: float, **server: int) -> bool:
        """Whether it ends the server at a look so many seconds after the last."""
        self.now += seconds
        return self.arbiter(inactive=timedelta(seconds=idle), inactive_limit=LIMIT, server=server)


@pytest.fixture
def hub() -> Hub:
    """One that has looked often enough."""
    hub = Hub()
    for _ in range(10):
        hub.culls_after(EVERY, 0)
    return hub


def test_a_server_is_idle_once_no_report_can_be_on_its_way(hub: Hub) -> None:
    assert not hub.culls_after(EVERY, LIMIT)
    assert not hub.culls_after(EVERY, LIMIT + 1.1 * REPORTS)
    assert hub.culls_after(EVERY, LIMIT + 1.5 * EVERY + 1.1 * REPORTS + 15)


def test_after_a_start_nobody_is_idle_before_all_have_reported() -> None:
    hub = Hub()
    assert not hub.culls_after(0, 10 * LIMIT)
    assert not hub.culls_after(EVERY, 10 * LIMIT)
    assert not hub.culls_after(EVERY, 10 * LIMIT)
    assert hub.culls_after(EVERY, 10 * LIMIT)


def test_the_hub_was_away_where_a_look_is_missing(hub: Hub) -> None:
    assert hub.culls_after(EVERY + 5, 10 * LIMIT)
    assert not hub.culls_after(2 * EVERY, 10 * LIMIT)
    assert not hub.culls_after(EVERY, 10 * LIMIT)


def test_a_slow_machine_is_not_away() -> None:
    """With the shortest limit a look is due each second, and takes longer."""
    hub = Hub()
    hub.arbiter = Arbiter(1, 1, lambda: hub.now)
    assert any(hub.culls_after(SLOW, 10 * LIMIT) for _ in range(10))


def test_one_look_at_many_servers_is_one_look(hub: Hub) -> None:
    assert [hub.culls_after(0, idle) for idle in (0, 10 * LIMIT, 0)] == [False, True, False]


def test_a_server_has_the_limit_of_its_owner(hub: Hub) -> None:
    late = 1.5 * EVERY + 1.1 * REPORTS + 15
    assert hub.culls_after(EVERY, 60 + late, idle_timeout=60)
    assert not hub.culls_after(EVERY, LIMIT + late, idle_timeout=2 * LIMIT)
    assert not hub.culls_after(EVERY, 100 * LIMIT, idle_timeout=0)
