"""Where a long run is, and what it made: tiers with the time so far, and a summary at the end."""

from __future__ import annotations

import sys
import time
from collections.abc import Generator

from pyinfra.api import operation
from pyinfra.api.host import Host
from pyinfra.api.state import BaseStateCallback, State
from pyinfra.context import ctx_state, host

_TIER = "Tier: "
_started = time.monotonic()
_summary: dict[str, None] = {}
_finished: list[str] = []


def _elapsed() -> str:
    seconds = int(time.monotonic() - _started)
    return f"{seconds // 60}:{seconds % 60:02}"


class _Progress(BaseStateCallback):
    """Standard output is left alone: under --json it is one document."""

    @staticmethod
    def operation_start(state: State, op_hash: str) -> None:
        (name, *_) = state.get_op_meta(op_hash).names
        if name.startswith(_TIER):
            print(f"\n==> {name} ({_elapsed()} so far)", file=sys.stderr)

    @staticmethod
    def operation_end(state: State, op_hash: str) -> None:
        if op_hash == state.get_op_order()[-1] and not state.failed_hosts:
            _finished.append(_elapsed())

    @staticmethod
    def host_disconnect(state: State, host: Host) -> None:
        # pyinfra disconnects after its table of all operations, which fills a screen
        if _finished and _summary:
            lines = "\n".join(f"    {line}" for line in _summary)
            print(f"\n==> Done in {_finished[-1]}\n{lines}", file=sys.stderr)
            _finished.clear()


@operation()
def _barrier() -> Generator[str]:
    host.noop("a barrier between tiers")
    return
    yield


def tier(title: str) -> None:
    """Begin a tier: no host goes on before every host is here (pyinfra runs operations in step).

    Every host of the run must call it, also one that has nothing to do in the tier.
    """
    state: State = ctx_state.get()
    if not any(isinstance(handler, _Progress) for handler in state.callback_handlers):
        state.add_callback_handler(_Progress())
    _barrier(name=f"{_TIER}{title}")


def summarise(line: str) -> None:
    """Add a line to the summary that ends a run without failures."""
    _summary[line] = None
