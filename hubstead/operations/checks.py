"""Checks of the running service: they change nothing and fail the run when one does not hold."""

from __future__ import annotations

import shlex
from collections.abc import Generator, Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit

from pyinfra.api import FactBase, QuoteString, StringCommand, operation
from pyinfra.context import ctx_state, host

#: curl without a proxy; a header with a secret reaches it on standard input, not as an argument
CURL = "curl --silent --show-error --max-time 10 --noproxy '*'"

#: What our helpers say to a request that asks for nothing
REFUSED = '{"error": "the request is none"}'

# The loop is on the host: a service that has just been started may need a moment.
_LOOP = """
i=0
while ! reason=$(sh -c "$1" 2>&1); do
    i=$((i + 1))
    if [ "$i" -ge "$2" ]; then echo "failed: $reason"; exit 0; fi
    sleep 1
done
"""

# Arguments are the socket, a line that is asked there, and the line that is the answer.
_ASK = """
import socket, sys
path, question, wanted = sys.argv[1:]
with socket.socket(socket.AF_UNIX) as asked:
    asked.settimeout(30)
    asked.connect(path)
    asked.sendall(question.encode() + b"\\n")
    print(answer := asked.recv(1000).decode())
sys.exit(answer != wanted + "\\n")
"""


@dataclass(frozen=True, kw_only=True)
class Check:
    """Something that has to hold on the host at hand.

    + name: how one sees it, as the name of an operation.
    + part: what it is about, for the error.
    + script: of a shell; what it prints is the reason, its exit status the result.
    + mend: where to look when it fails.
    + tries: how often verify tries it, a second apart.
    + of: the part of the service that fails with it (`SUBJECTS` of hubstead.diagnosis).
    + units: of systemd, which have to run before it makes sense to ask.
    + leaves_no_trace: whether the host is at every moment as it was.
    """

    name: str
    part: str
    script: str
    mend: str
    of: str
    units: tuple[str, ...] = ()
    leaves_no_trace: bool = True
    tries: int = 30


def answers(request: str, status: int) -> str:
    """A script for a check: whether the answer has this status (RFC 9110, 15).

    + request: arguments of curl(1).
    """
    return f"""
        answer=$({CURL} --output /dev/null --write-out '%{{http_code}}' {request})
        echo "it says $answer and not {status}"
        [ "$answer" = {status} ]"""


def says(socket: str, question: str, answer: str) -> str:
    """A script for a check: whether who listens on a Unix socket answers one line by another."""
    return shlex.join(["python3", "-c", _ASK, socket, question, answer])


def found(*urls: str) -> Check:
    """That the host has an address for the name of one of them."""
    names = [str(urlsplit(url).hostname) for url in urls]
    return Check(
        name="Look up who knows people's accounts",
        part="The name of who knows people's accounts",
        script=f"""
            for name in {shlex.join(names)}; do getent ahosts "$name" >/dev/null && exit 0; done
            echo "no address there for $name"
            false""",
        mend="does the DNS server of /etc/resolv.conf there answer?",
        of="addresses",
    )


class Failure(FactBase[str | None]):
    """Why a check still fails after `tries` tries, a second apart; None when it passes.

    + script: a shell script; what it prints is the reason, its exit status the result.
    """

    def command(self, script: str, tries: int) -> StringCommand:
        return StringCommand("sh -c", QuoteString(_LOOP), "sh", QuoteString(script), str(tries))

    def process(self, output: list[str]) -> str | None:
        return "\n".join(output).removeprefix("failed: ").strip() or "it printed no reason"


@operation()
def passes(part: str, script: str, mend: str, tries: int = 30) -> Generator[StringCommand]:
    """Ensure that `script` succeeds on the host, once all before it was done.

    + part: what the check is about, for the error.
    + mend: where to look when it fails.
    + tries: how often it is tried, a second apart.

    A plan (`--dry`) makes no check: what it asks for may not be there yet.
    """
    if not ctx_state.get().is_executing:
        return
    reason = host.get_fact(Failure, script, tries)
    if reason is not None:
        text = f"{part} does not answer as it should on {host.name}: {reason}\nLook here: {mend}"
        yield StringCommand("printf '%s\\n'", QuoteString(text), ">&2; false")


def all_pass(those: Iterable[Check]) -> None:
    """Ensure that each of them holds, in their order."""
    for check in host.loop(list(those)):
        passes(
            name=check.name,
            part=check.part,
            script=check.script,
            mend=check.mend,
            tries=check.tries,
        )
