"""Where the time of the tests goes: seconds by module, and those of them in deploys."""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

#: The environment's name of a file for the figures, for who runs pytest several times
FILE = "HUBSTEAD_TIMES"
#: By module: seconds, and seconds in deploys
Times = dict[str, tuple[float, float]]
_deploys: Counter[str] = Counter()


@contextmanager
def deploy() -> Iterator[None]:
    """What happens inside is a deploy of the test at hand."""
    began = time.monotonic()
    try:
        yield
    finally:
        module = os.environ.get("PYTEST_CURRENT_TEST", "").partition("::")[0]
        _deploys[module] += time.monotonic() - began


def table(all_times: Iterable[Times]) -> list[str]:
    """The figures of some runs of pytest, for a person; modules of less than a second together."""
    seconds: Counter[str] = Counter()
    deploys: Counter[str] = Counter()
    for times in all_times:
        for module, (whole, in_deploys) in times.items():
            name = module if whole >= 1 else "modules of less than a second"
            seconds[name] += whole
            deploys[name] += in_deploys
    lines = ["seconds  in deploys  module"]
    lines += [f"{s:7.0f} {deploys[name]:11.0f}  {name}" for name, s in seconds.most_common()]
    return [*lines, f"{seconds.total():7.0f} {deploys.total():11.0f}  in all"]


def read(path: Path) -> Times:
    return dict(json.loads(path.read_text()))


class Table:
    """A plugin of pytest: the table at the end."""

    def __init__(self) -> None:
        self._seconds: Counter[str] = Counter()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._seconds[report.nodeid.partition("::")[0]] += report.duration

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        times = {module: (whole, _deploys[module]) for module, whole in self._seconds.items()}
        if FILE in os.environ:
            Path(os.environ[FILE]).write_text(json.dumps(times))
        else:
            for line in table([times]):
                terminalreporter.line(line)
