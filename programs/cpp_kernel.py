"""Written by Hubstead: the C++ kernel of people's servers, clang-repl with what it lacks.

Cells share one session of clang-repl. What does not compile, and what ends the session, is an error
in its cell, which the package calls `ok`; a session that has ended is begun anew, without what
earlier cells defined. A cell may take its time: the package ends the session after 10 seconds. And
one that prints nothing has no output, where the package sends one that no notebook may have
(nbformat, stream.text).
"""

from __future__ import annotations

from typing import Any

from clang_repl import ClangReplKernel
from clang_repl.clrepl import ClangRepl
from ipykernel.kernelapp import IPKernelApp

ENDED = "the C++ session has ended and is begun anew: what earlier cells defined is gone"


class Session(ClangRepl):  # type: ignore[misc]
    """One that remembers whether a line failed, and waits for it."""

    failed = False

    def line_repl(self, line: str, timeout: float) -> tuple[str, bool, bool, bool, str]:
        # None waits (pexpect); the package's own is for `%timeout` alone
        answer: tuple[str, bool, bool, bool, str] = super().line_repl(line, None)
        _, alive, _, error, _ = answer
        self.failed = self.failed or error or not alive
        return answer


class Kernel(ClangReplKernel):  # type: ignore[misc]
    """One whose failures are errors."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.repl = Session()

    def do_execute(
        self,
        code: str,
        silent: bool,
        store_history: bool = True,
        user_expressions: Any = None,
        allow_stdin: bool = False,
    ) -> dict[str, Any]:
        count = {"execution_count": self.execution_count}
        if silent or not code.strip():
            return {"status": "ok", "payload": [], "user_expressions": {}, **count}
        self.repl.failed = False
        try:
            printed, alive = self.repl.run(code)
        except KeyboardInterrupt:
            printed, alive = "Interrupted", False
        failed = self.repl.failed or not alive
        if printed:
            stream = {"name": "stderr" if failed else "stdout", "text": f"{printed}\n"}
            self.send_response(self.iopub_socket, "stream", stream)
        if not failed:
            return {"status": "ok", "payload": [], "user_expressions": {}, **count}
        reason = "the cell failed"
        if not alive:
            reason = ENDED
            if self.repl.child:
                self.repl.child.close(force=True)
            self.repl = Session()
        error = {"ename": "Error", "evalue": reason, "traceback": [reason]}
        self.send_response(self.iopub_socket, "error", error)
        return {"status": "error", **error, **count}


if __name__ == "__main__":
    IPKernelApp.launch_instance(kernel_class=Kernel)
