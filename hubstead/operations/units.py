"""systemd units: one operation that starts, stops, enables, restarts and reloads them.

Whether to restart is decided from state and not from "did an operation change something in this
run": a unit whose inputs are newer than its main process is restarted, so a run that died between
writing a file and restarting is put right by the next one.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from pyinfra import logger
from pyinfra.api import FactBase, FactProcessError, QuoteString, StringCommand, operation
from pyinfra.context import ctx_state, host

_PROPERTIES = (
    "LoadState,ActiveState,UnitFileState,NeedDaemonReload,Result,"
    "ExecMainStartTimestamp,ActiveEnterTimestamp,StateChangeTimestamp"
)
# enabled-runtime and generated: an instance that a generator enables, such as PostgreSQL's
_ENABLED = ("enabled", "enabled-runtime", "generated", "static", "alias", "indirect")


@dataclass(frozen=True)
class UnitState:
    """A unit as systemd sees it. Times are seconds since the epoch, 0 for never.

    `inputs` and `reload_inputs` are the newest modification times among the paths asked about.
    """

    loaded: bool = False
    active: bool = False
    starting: bool = False
    failed: bool = False
    enabled: bool = False
    stale: bool = False
    started: float = 0
    changed: float = 0
    inputs: float = 0
    reload_inputs: float = 0


def _timestamp(value: str) -> float:
    """Seconds since the epoch from `systemctl show --timestamp=us+utc`; 0 for an empty one."""
    if not value or value == "n/a":
        return 0
    moment = datetime.strptime(value, "%a %Y-%m-%d %H:%M:%S.%f %Z")
    return moment.replace(tzinfo=UTC).timestamp()


def parse_unit(lines: Iterable[str]) -> UnitState:
    """The state from the lines that the command of `Unit` prints."""
    properties: dict[str, str] = {}
    newest = {"input": 0.0, "reload": 0.0}
    for line in lines:
        key, _, value = line.partition("=")
        if key in newest:
            newest[key] = max(newest[key], float(value))
        else:
            properties[key] = value
    main_start = _timestamp(properties.get("ExecMainStartTimestamp", ""))
    entered = _timestamp(properties.get("ActiveEnterTimestamp", ""))
    return UnitState(
        loaded=properties.get("LoadState") == "loaded",
        # a unit that waits for its automatic restart is not what the settings ask for
        active=properties.get("ActiveState") in ("active", "reloading"),
        starting=properties.get("ActiveState") == "activating",
        failed=properties.get("ActiveState") == "failed",
        enabled=properties.get("UnitFileState") in _ENABLED,
        stale="yes" in (properties.get(f"{of}NeedDaemonReload") for of in ("", "Triggered")),
        # a process read its configuration after it started and before the unit became active
        started=main_start or entered,
        changed=_timestamp(properties.get("StateChangeTimestamp", "")),
        inputs=newest["input"],
        reload_inputs=newest["reload"],
    )


class Unit(FactBase[UnitState]):
    """A unit's state together with the age of its inputs, in one command."""

    @staticmethod
    def default() -> UnitState:
        return UnitState()

    def requires_command(self, unit: str, inputs: list[str], reload_inputs: list[str]) -> str:
        return "systemctl"

    def command(self, unit: str, inputs: list[str], reload_inputs: list[str]) -> StringCommand:
        def newest(tag: str, paths: Sequence[str]) -> list[str | QuoteString]:
            if not paths:
                return []
            quoted = [QuoteString(path) for path in paths]
            return ["find", *quoted, f"-printf '{tag}=%T@\\n' 2>/dev/null;"]

        triggered: list[str | QuoteString] = []
        stem, _, kind = unit.rpartition(".")
        if kind in ("timer", "path"):
            # the service that it starts has no operation of its own (systemd.timer(5), Unit=)
            service = QuoteString(f"{stem}.service")
            triggered = ["systemctl show --property NeedDaemonReload", service]
            triggered += ["| sed 's/^/Triggered/';"]
        return StringCommand(
            "systemctl show --timestamp=us+utc --property", _PROPERTIES, QuoteString(unit), ";",
            *triggered, *newest("input", inputs), *newest("reload", reload_inputs), "true",
        )  # fmt: skip

    def process(self, output: list[str]) -> UnitState:
        try:
            return parse_unit(output)
        except ValueError as error:
            raise FactProcessError(
                f"systemctl show printed what we cannot read: {error}"
            ) from error


class HasChildren(FactBase[bool]):
    """Whether the main process of a unit has children (proc_pid_status(5), PPid)."""

    @staticmethod
    def default() -> bool:
        return False

    def command(self, unit: str) -> StringCommand:
        script = (
            'pid=$(systemctl show --value --property MainPID "$1"); [ "$pid" = 0 ] ||'
            ' ! grep -qs "^PPid:[[:space:]]*$pid\\$" /proc/[0-9]*/status || echo yes'
        )
        return StringCommand("sh", "-c", QuoteString(script), "sh", QuoteString(unit))

    def process(self, output: list[str]) -> bool:
        return output == ["yes"]


def _or_explain(verb: str, unit: str) -> StringCommand:
    """`systemctl VERB UNIT`, and when it fails the unit's last words."""
    script = 'systemctl "$1" "$2" || { journalctl --no-pager -o cat -n 15 -u "$2" >&2; exit 1; }'
    return StringCommand("sh", "-c", QuoteString(script), "sh", verb, QuoteString(unit))


@operation()
def running(
    unit: str,
    inputs: Sequence[str] = (),
    reload_inputs: Sequence[str] = (),
    children: str | None = None,
    packaged: bool = False,
) -> Generator[StringCommand]:
    """Ensure that `unit` is enabled and active, with its current inputs.

    + inputs: files, links or directories; one newer than the unit's main process restarts it. The
      unit's own file and drop-ins below /etc/systemd/system count as well.
    + packaged: it is a package's unit, which may serve the owner as well: what is below
      /etc/systemd/system is his, and no reason to restart it.
    + reload_inputs: as `inputs`, for what the unit reads again on a reload; one of them must exist
      once the operations before this one are done.
    + children: what the unit's main process has as children, where a restart would cost people
      their work: it waits for a run that finds none, and this one says so.

    Rule: systemctl(1), `show`, `--timestamp=`; org.freedesktop.systemd1(5), ExecMainStartTimestamp.
    """
    own = [] if packaged else [f"/etc/systemd/system/{unit}", f"/etc/systemd/system/{unit}.d"]
    state = host.get_fact(Unit, unit, [*own, *inputs], list(reload_inputs))
    if state.stale or not state.loaded:
        yield StringCommand("systemctl", "daemon-reload")
    if not state.enabled:
        yield StringCommand("systemctl", "--quiet", "enable", QuoteString(unit))
    if state.failed:
        yield StringCommand("systemctl", "reset-failed", QuoteString(unit))
    # restart, not start, where it is not active: a start of a unit that is just being started waits
    # for the process that read the old inputs
    if not state.active or state.inputs > state.started:
        if state.active and children and host.get_fact(HasChildren, unit):
            if ctx_state.get().is_executing:
                logger.warning(
                    f"{host.name}: {unit} goes on as it was, since people have {children} in it. "
                    "What changed counts from its next start: run again when they are done, or "
                    f"announce it and `systemctl restart {unit}`."
                )
            return
        yield _or_explain("restart", unit)
    # where none is there yet, this is a plan: an operation before this one will write it
    elif reload_inputs and not 0 < state.reload_inputs <= max(state.started, state.changed):
        yield _or_explain("reload", unit)


@operation()
def stopped(unit: str) -> Generator[StringCommand]:
    """Ensure that `unit` neither runs nor starts at boot; one that does not exist is fine."""
    state = host.get_fact(Unit, unit, [], [])
    if state.loaded and state.enabled:
        yield StringCommand("systemctl", "--quiet", "disable", QuoteString(unit))
    # one that runs to an end is never active, and one that fails begins again and again
    if state.active or state.starting or state.failed:
        yield StringCommand("systemctl", "stop", QuoteString(unit))
        yield StringCommand("systemctl", "reset-failed", QuoteString(unit), "2>/dev/null || true")


class Rang(FactBase[bool]):
    """Whether a unit that runs to an end failed the last time.

    One that is at work now is waited for, `seconds` at most.
    """

    @staticmethod
    def default() -> bool:
        return False

    def requires_command(self, unit: str, seconds: int) -> str:
        return "systemctl"

    def command(self, unit: str, seconds: int) -> StringCommand:
        script = (
            'for second in $(seq "$2"); do'
            ' [ "$(systemctl show --value --property ActiveState "$1")" = activating ] || break;'
            ' sleep 1; done; systemctl show --value --property ActiveState "$1"'
        )
        return StringCommand("sh -c", QuoteString(script), "sh", QuoteString(unit), str(seconds))

    def process(self, output: list[str]) -> bool:
        return output == ["failed"]


@operation()
def retried(unit: str, patience: int) -> Generator[StringCommand]:
    """Ensure that an alarm is about what is there now: where `unit` failed, it is started again.

    It may have looked while this run, or one that was cut, had stopped what it looks at. One that
    fails again is not an error of the run: it stays failed, and each run tries it again.

    + patience: seconds for one that looks just now, and may have begun while something was stopped.
    """
    if host.get_fact(Rang, unit, patience if ctx_state.get().is_executing else 0):
        yield StringCommand("systemctl", "start", QuoteString(unit), "|| true")


# a unit's file may be a package's, below /usr/lib
_OTHERS = """
unit=$1
shift
for file in "$(systemctl show --value --property FragmentPath "$unit")" "$@"; do
    [ ! -f "$file" ] || grep -qF 'Written by Hubstead' "$file" || echo "$file"
done
"""


class Others(FactBase[list[str]]):
    """Which of a unit's file and some other files are there, and not written by Hubstead."""

    @staticmethod
    def default() -> list[str]:
        return []

    def requires_command(self, unit: str, paths: list[str]) -> str:
        return "systemctl"

    def command(self, unit: str, paths: list[str]) -> StringCommand:
        quoted = [QuoteString(path) for path in paths]
        return StringCommand("sh -c", QuoteString(_OTHERS), "sh", QuoteString(unit), *quoted)

    def process(self, output: list[str]) -> list[str]:
        return list(output)


class DropIns(FactBase[list[str]]):
    """The drop-ins that systemd read for a unit."""

    @staticmethod
    def default() -> list[str]:
        return []

    def requires_command(self, unit: str) -> str:
        return "systemctl"

    def command(self, unit: str) -> StringCommand:
        return StringCommand("systemctl show --value --property DropInPaths", QuoteString(unit))

    def process(self, output: list[str]) -> list[str]:
        return " ".join(output).split()


@operation()
def limited(unit: str) -> Generator[StringCommand]:
    """Ensure that systemd has read the current limits of a slice.

    It is not restarted, since that would stop all that is in it (systemd.slice(5)). New limits
    count from the next start of something in it: of a moment's nothing, here.
    """
    if host.get_fact(Unit, unit, [], []).stale:
        yield StringCommand(
            "systemctl daemon-reload && systemd-run --quiet --scope", f"--slice={unit}", "true"
        )


@operation()
def extended(unit: str, drop_in: str) -> Generator[StringCommand]:
    """Ensure that systemd has read a drop-in of `unit` that is not below /etc/systemd/system.

    Where its directory is new, systemd 252 (Debian 12) does not say so by NeedDaemonReload.
    """
    if drop_in not in host.get_fact(DropIns, unit):
        yield StringCommand("systemctl", "daemon-reload")
