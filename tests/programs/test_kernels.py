"""What starts the kernels of C, C++ and Octave, with packages that only pretend."""

from __future__ import annotations

import importlib.util
import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from hubstead.programs import ROOT


class Base:
    """What of a kernel tells the person."""

    iopub_socket = None
    execution_count = 7

    def __init__(self, **options: Any) -> None:
        self.sent: list[tuple[str, dict[str, Any]]] = []

    def send_response(self, socket: None, kind: str, content: dict[str, Any]) -> None:
        self.sent.append((kind, content))

    @property
    def errors(self) -> list[str]:
        return [content["evalue"] for kind, content in self.sent if kind == "error"]


def load(monkeypatch: pytest.MonkeyPatch, name: str, **modules: dict[str, Any]) -> ModuleType:
    """A program, where these packages are; `__` is a dot."""
    known = {"ipykernel": {}, "ipykernel__kernelapp": {"IPKernelApp": None}, **modules}
    for module, values in known.items():
        made = ModuleType(module.replace("__", "."))
        vars(made).update(values)
        monkeypatch.setitem(sys.modules, made.__name__, made)
    specification = importlib.util.spec_from_file_location(name, ROOT / f"{name}.py")
    assert specification and specification.loader
    program = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(program)
    return program


class CKernel(Base):
    """The package's: `code` is what it does of a cell."""

    def _write_to_stderr(self, contents: str) -> None:
        self.send_response(None, "stream", {"name": "stderr", "text": contents})

    def do_execute(self, code: str, silent: bool) -> dict[str, Any]:
        if code == "interrupt":
            raise KeyboardInterrupt
        self._write_to_stderr(code)
        return {"status": "ok", "execution_count": self.execution_count}


class Subprocess:
    """The package's: what was read so far is in `queue`."""

    def __init__(self) -> None:
        self.returncode: int | None = None
        self.queue = ["early"]
        self.passed: list[str] = []
        join = SimpleNamespace(join=lambda seconds: self.queue.append("late"))
        self._stdout_thread = self._stderr_thread = join

    def write_contents(self) -> None:
        self.passed += self.queue
        self.queue = []


@pytest.fixture
def c(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    kernel = {"CKernel": CKernel, "RealTimeSubprocess": Subprocess}
    return load(monkeypatch, "c_kernel", jupyter_c_kernel={}, jupyter_c_kernel__kernel=kernel)


@pytest.mark.parametrize(
    ("cell", "error"),
    [
        ("[C kernel] Executable exited with code 3", "Executable exited with code 3"),
        ("interrupt", "Interrupted"),
    ],
)
def test_a_program_in_c_that_fails_is_an_error(c: ModuleType, cell: str, error: str) -> None:
    kernel = c.Kernel()
    reply = kernel.do_execute(cell, False)
    assert (reply["status"], reply["evalue"], kernel.errors) == ("error", error, [error])
    # and the next one is not
    assert kernel.do_execute("warning: unused", False)["status"] == "ok"
    assert kernel.sent[-1] == ("stream", {"name": "stderr", "text": "warning: unused"})


def test_what_a_program_in_c_prints_at_its_end_is_not_lost(c: ModuleType) -> None:
    running = c.Program()
    running.write_contents()
    assert running.passed == ["early"]
    running.returncode = 0
    running.write_contents()
    assert running.passed == ["early", "late", "late"]


class ClangRepl:
    """The package's: a cell is what `line_repl` answers."""

    sessions = 0

    def __init__(self) -> None:
        type(self).sessions += 1
        self.child = SimpleNamespace(close=lambda force: None)
        self.timeouts: list[float | None] = []

    def line_repl(self, line: str, timeout: float | None) -> tuple[str, bool, bool, bool, str]:
        self.timeouts.append(timeout)
        if line == "interrupt":
            raise KeyboardInterrupt
        return line, line != "abort()", False, line == "nosuch", ""

    def run(self, cell: str) -> tuple[str, bool]:
        printed, alive, *_ = self.line_repl(cell, 10)
        return printed.removeprefix("silently"), alive


@pytest.fixture
def cpp(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    package = {"ClangReplKernel": Base}
    return load(
        monkeypatch, "cpp_kernel", clang_repl=package, clang_repl__clrepl={"ClangRepl": ClangRepl}
    )


def test_a_cell_in_cpp_that_prints_nothing_has_no_output(cpp: ModuleType) -> None:
    kernel = cpp.Kernel()
    for cell in ("silently", " \n"):
        assert kernel.do_execute(cell, False)["status"] == "ok"
    assert kernel.sent == []
    assert kernel.do_execute("42", False)["status"] == "ok"
    assert kernel.sent == [("stream", {"name": "stdout", "text": "42\n"})]
    # a cell may take its time
    assert set(kernel.repl.timeouts) == {None}


@pytest.mark.parametrize(
    ("cell", "error", "anew"),
    [("nosuch", "the cell failed", 0), ("abort()", "begun anew", 1), ("interrupt", "anew", 1)],
)
def test_a_cell_in_cpp_that_fails_is_an_error(
    cpp: ModuleType, cell: str, error: str, anew: int
) -> None:
    kernel = cpp.Kernel()
    before = cpp.Session.sessions
    reply = kernel.do_execute(cell, False)
    assert reply["status"] == "error" and error in reply["evalue"]
    assert kernel.errors == [reply["evalue"]]
    assert cpp.Session.sessions == before + anew
    assert kernel.do_execute("42", False)["status"] == "ok"


class OctaveKernel(Base):
    """The package's: a cell is what Octave prints of it, and then its last error."""

    def __init__(self) -> None:
        super().__init__()
        self.last = ""
        self.octave_engine = self._octave_engine = SimpleNamespace(eval=self.eval)

    def eval(self, code: str, silent: bool) -> str:
        if code == 'lasterr("");':
            self.last = ""
        return self.last

    def Write(self, message: str) -> None:  # noqa: N802, the package's
        self.send_response(None, "stream", {"name": "stdout", "text": message})

    def do_execute_direct(self, code: str, silent: bool = False) -> str:
        if code == "quit":
            self._octave_engine = None  # type: ignore[assignment]
            return "asked"
        printed, _, self.last = code.partition("|")
        self.Write(printed)
        return "done"


def test_what_octave_calls_an_error_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    package: dict[str, Any] = {"OctaveKernel": OctaveKernel}
    program = load(monkeypatch, "octave_kernel", octave_kernel={}, octave_kernel__kernel=package)
    kernel = program.Kernel()
    assert kernel.do_execute_direct("ans = 42") == "done"
    with pytest.raises(program.OctaveError, match=r"^parse error:\n\n  syntax error$"):
        kernel.do_execute_direct("error: parse error:\r\n|parse error:\n\n  syntax error\n")
    # caught by the cell itself
    assert kernel.do_execute_direct("fine|nonconformant arguments") == "done"
    assert kernel.do_execute_direct("ans = 42") == "done"
    assert kernel.do_execute_direct("quit") == "asked"
