"""Written by Hubstead: the C kernel of people's servers, jupyter-c-kernel with what it lacks.

Each cell is a whole program. One that does not compile, or ends with another status than 0, is an
error there, which the package calls `ok`: a notebook that is run whole would go on.
"""

from __future__ import annotations

import time
from typing import Any

from ipykernel.kernelapp import IPKernelApp
from jupyter_c_kernel.kernel import CKernel, RealTimeSubprocess

#: What the package says itself begins with this
OWN_WORDS = "[C kernel] "


class Program(RealTimeSubprocess):  # type: ignore[misc]
    """A compiler or a cell's program, which the package asks without a pause whether it prints."""

    def write_contents(self) -> None:
        """Pass on what it printed: all of it, when it has ended."""
        if self.returncode is None:
            time.sleep(0.01)
        else:
            # not for good: what it started may still have its output
            self._stdout_thread.join(1)
            self._stderr_thread.join(1)
        super().write_contents()


class Kernel(CKernel):  # type: ignore[misc]
    """One whose failures are errors."""

    failure: str | None = None

    def create_jupyter_subprocess(self, command: list[str]) -> Program:
        return Program(
            command,
            lambda contents: self._write_to_stdout(contents.decode(errors="replace")),
            lambda contents: self._write_to_stderr(contents.decode(errors="replace")),
        )

    def _write_to_stderr(self, contents: str) -> None:
        if contents.startswith(OWN_WORDS):
            self.failure = contents.removeprefix(OWN_WORDS)
        else:
            super()._write_to_stderr(contents)

    def do_execute(
        self,
        code: str,
        silent: bool,
        store_history: bool = True,
        user_expressions: Any = None,
        allow_stdin: bool = False,
    ) -> dict[str, Any]:
        self.failure = None
        try:
            reply: dict[str, Any] = super().do_execute(code, silent)
        except KeyboardInterrupt:
            self.failure = "Interrupted"
        if not self.failure:
            return reply
        error = {"ename": "Error", "evalue": self.failure, "traceback": [self.failure]}
        self.send_response(self.iopub_socket, "error", error)
        return {"status": "error", "execution_count": self.execution_count, **error}


if __name__ == "__main__":
    IPKernelApp.launch_instance(kernel_class=Kernel)
