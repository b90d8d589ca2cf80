"""Written by Hubstead: the Octave kernel of people's servers, octave_kernel with what it lacks.

What Octave itself calls an error is one in the cell, which the package calls `ok`: a notebook that
is run whole would go on.
"""

from __future__ import annotations

from typing import Any

from octave_kernel.kernel import OctaveKernel

#: Before the first cell: without a screen, gnuplot draws, of which Octave warns in ten lines
QUIET = 'warning("off", "Octave:gnuplot-graphics");'


class OctaveError(Exception):
    """What Octave says of a cell."""


class Kernel(OctaveKernel):  # type: ignore[misc]
    """One whose failures are errors."""

    printed = ""
    begun = False

    def Write(self, message: str) -> None:  # noqa: N802, the package's
        self.printed += message
        super().Write(message)

    def do_execute_direct(self, code: str, silent: bool = False) -> Any:
        engine = self.octave_engine
        if not self.begun:
            engine.eval(QUIET, silent=True)
            self.begun = True
        engine.eval('lasterr("");', silent=True)
        self.printed = ""
        value = super().do_execute_direct(code, silent=silent)
        if self._octave_engine is not engine:
            # the cell was `quit`
            return value
        last = engine.eval("disp(lasterr);", silent=True).strip()
        # one that the cell's own `try` has caught is not printed
        if last and last.splitlines()[0] in self.printed:
            raise OctaveError(last)
        return value


if __name__ == "__main__":
    Kernel.run_as_main()
