"""The limit on guessing."""

import threading

from hubstead_userdb.throttle import Throttle


class Clock:
    """Time that the test moves."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_the_name_waits_at_that_address_only_and_not_for_ever() -> None:
    clock = Clock()
    throttle = Throttle(window=300, failures=3, clock=clock)
    for _ in range(3):
        assert throttle.admit("ada", "10.0.0.1") == 0
        clock.now += 10
    assert throttle.admit("ada", "10.0.0.1") == 270
    assert throttle.admit("ada", "10.0.0.2") == 0
    assert throttle.admit("bob", "10.0.0.1") == 0
    clock.now += 271
    assert throttle.admit("ada", "10.0.0.1") == 0
    # One attempt fell out of the window, one came in: the pair waits again.
    assert throttle.admit("ada", "10.0.0.1") > 0


def test_waiting_attempts_do_not_prolong_the_wait() -> None:
    clock = Clock()
    throttle = Throttle(window=300, failures=1, clock=clock)
    throttle.admit("ada", "10.0.0.1")
    for _ in range(100):
        clock.now += 1
        assert throttle.admit("ada", "10.0.0.1") == 1300 - clock.now


def test_a_success_forgets_the_name_but_not_the_address() -> None:
    throttle = Throttle(failures=3, address_failures=4)
    for _ in range(2):
        throttle.admit("ada", "10.0.0.1")
    throttle.admit("eve", "10.0.0.1")
    throttle.succeeded("eve", "10.0.0.1")
    throttle.admit("ada", "10.0.0.1")
    throttle.succeeded("ada", "10.0.0.1")
    assert throttle.admit("ada", "10.0.0.1") == 0
    assert throttle.admit("bob", "10.0.0.1") == 0
    assert throttle.admit("bob", "10.0.0.1") > 0
    assert throttle.admit("bob", "10.0.0.2") == 0


def test_a_class_behind_one_address_logs_in() -> None:
    throttle = Throttle()
    for number in range(60):
        for _ in range(4):
            assert throttle.admit(f"pupil{number}", "10.0.0.1") == 0
        throttle.succeeded(f"pupil{number}", "10.0.0.1")


def test_aborted_attempts_do_not_count() -> None:
    throttle = Throttle(failures=1, address_failures=1)
    for _ in range(5):
        assert throttle.admit("ada", "10.0.0.1") == 0
        throttle.aborted("ada", "10.0.0.1")


def test_attempts_at_the_same_time_are_no_way_around() -> None:
    throttle = Throttle(failures=10)
    waits: list[int] = []
    threads = [
        threading.Thread(target=lambda: waits.append(throttle.admit("ada", "10.0.0.1")))
        for _ in range(50)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert waits.count(0) == 10


def test_memory_is_bounded() -> None:
    throttle = Throttle(max_keys=100, address_failures=10**6)
    for number in range(1000):
        throttle.admit(f"{number}" + "x" * 1000, "10.0.0.1")
    assert len(throttle._failed) <= 100
    assert all(len(part) <= 64 for key in throttle._failed for part in key)


def test_an_ipv6_host_is_its_64() -> None:
    throttle = Throttle(failures=2)
    assert throttle.admit("ada", "2001:db8:0:1::1") == 0
    assert throttle.admit("ada", "2001:db8:0:1:ffff::2") == 0
    assert throttle.admit("ada", "2001:db8:0:1:1:2:3:4") > 0
    assert throttle.admit("ada", "2001:db8:0:2::1") == 0


def test_an_ipv4_address_in_ipv6_is_itself() -> None:
    throttle = Throttle(failures=1)
    assert throttle.admit("ada", "::ffff:192.0.2.1") == 0
    assert throttle.admit("ada", "::ffff:192.0.2.2") == 0
    assert throttle.admit("ada", "192.0.2.1") > 0
