"""Hooks of certificates: what runs, in which order, as what; and one that fails."""

from __future__ import annotations

from pathlib import Path

import pytest

from hubstead.operations import pairs
from tests.kit.authority import Authority
from tests.unit.operations.support import ask
from tests.unit.plans import Plan

NAMES = ["hub.example.org"]


class Hooks:
    """The hooks of the directory, which write down that they ran."""

    def __init__(self, authority: Authority) -> None:
        self.authority = authority
        self.log = authority.directory / "ran"

    def write(self, name: str, script: str = "", mode: int = 0o755) -> Path:
        path = self.authority.directory / "hooks" / name
        path.write_text(f"#!/bin/sh\necho {name!r} >>{self.log}\n{script}\n")
        path.chmod(mode)
        return path

    def ran(self) -> list[str]:
        """Those that ran since the last question, in their order."""
        names = self.log.read_text().splitlines() if self.log.exists() else []
        self.log.unlink(missing_ok=True)
        return names

    def renew(self, **environment: str) -> str:
        """Have the certificate replaced; what was said."""
        (self.authority.directory / "issued-for").unlink(missing_ok=True)
        return self.authority.run("internal-certificate", **environment)


@pytest.fixture
def hooks(tmp_path: Path) -> Hooks:
    authority = Authority(tmp_path)
    authority.issue(NAMES)
    return Hooks(authority)


def test_executable_ones_run_in_the_order_of_their_names(hooks: Hooks) -> None:
    for name in ("b", "a mail", "B.sh", "10-copy", "9-copy", "b~"):
        hooks.write(name)
    hooks.write("off", mode=0o644)
    (hooks.authority.directory / "hooks/of mine").mkdir()
    hooks.renew()
    assert hooks.ran() == ["10-copy", "9-copy", "B.sh", "a mail", "b"]
    assert hooks.authority.is_valid()
    hooks.authority.run("internal-certificate")
    assert hooks.ran() == []


def test_they_run_alike_whoever_got_the_certificate(hooks: Hooks, tmp_path: Path) -> None:
    """certbot, a person's shell, a unit and a run have each another environment."""
    told = tmp_path / "told"
    hooks.write("tell", f"env | grep -v PWD >>{told}; pwd >>{told}; umask >>{told}; cat >>{told}")
    hooks.renew(RENEWED_LINEAGE="/etc/letsencrypt/live/hubstead", LANG="de_DE.UTF-8")
    first = told.read_text()
    told.unlink()
    hooks.renew(SUDO_USER="ada", HOME="/home/ada")
    assert told.read_text() == first
    assert str(hooks.authority.directory) in first.splitlines()
    assert "RENEWED_LINEAGE" not in first


def test_one_that_fails_keeps_nobody_from_the_certificate(hooks: Hooks) -> None:
    before = hooks.authority.pair()[0].read_bytes()
    hooks.write("1-before")
    broken = hooks.write("2-broken", "echo no such mailbox; exit 3")
    hooks.write("3-after")
    said = hooks.renew()
    assert f"{broken} failed, and will be tried again" in said and "no such mailbox" in said
    assert "is in place" in said
    assert hooks.ran() == ["1-before", "2-broken", "3-after"]
    assert hooks.authority.pair()[0].read_bytes() != before
    # it blocks no run: nothing is to be issued
    assert hooks.authority.is_valid()
    assert ask(pairs.Pair(), str(hooks.authority.directory)).announced
    assert ask(pairs.DueHooks(), [str(hooks.authority.directory), "/absent"]) == [str(broken)]
    # it alone is tried again, until it succeeds
    systemctl = ("start", "hubstead-certificate-hooks.service")
    with pytest.raises(AssertionError, match="2-broken failed"):
        hooks.authority.run("systemctl", *systemctl)
    assert hooks.ran() == ["2-broken"]
    hooks.write("2-broken")
    hooks.authority.run("systemctl", *systemctl)
    assert hooks.ran() == ["2-broken"]
    hooks.authority.run("systemctl", *systemctl)
    assert hooks.ran() == []
    assert ask(pairs.DueHooks(), [str(hooks.authority.directory)]) == []


def test_one_that_went_away_is_not_due_any_more(hooks: Hooks) -> None:
    broken = hooks.write("broken", "exit 1")
    hooks.renew()
    broken.unlink()
    hooks.authority.run("systemctl", "start", "hubstead-certificate-hooks.service")
    assert ask(pairs.DueHooks(), [str(hooks.authority.directory)]) == []


def test_a_run_that_was_cut_between_runs_them_all_again(hooks: Hooks) -> None:
    hooks.write("a")
    hooks.renew()
    assert hooks.ran() == ["a"]
    (hooks.authority.directory / "announced").write_text("")
    assert not hooks.authority.is_valid()
    hooks.authority.run("install-certificate", str(hooks.authority.directory))
    assert hooks.ran() == ["a"] and hooks.authority.is_valid()


@pytest.mark.parametrize("file", ["announced", "due", "due.new"])
def test_a_disk_that_takes_nothing_does_not_keep_them_running(hooks: Hooks, file: str) -> None:
    hooks.write("a")
    for name in ("announced", file):
        (hooks.authority.directory / name).unlink(missing_ok=True)
    (hooks.authority.directory / file).mkdir()
    install = ("install-certificate", str(hooks.authority.directory))
    assert "is in place" in hooks.authority.run(*install)
    assert len(hooks.ran()) <= 1
    (hooks.authority.directory / file).rmdir()
    hooks.authority.run(*install)
    assert hooks.ran() == ["a"] and hooks.authority.is_valid()


def test_a_run_says_which_one_fails_and_goes_on(
    plan: Plan, caplog: pytest.LogCaptureFixture
) -> None:
    hook = "/etc/hubstead/tls/hooks/mail"
    look = 'sed "s,^,$directory/," "$directory/due"'
    run = plan("all", responses={look: hook})
    again = "settled | Run hooks again that failed"
    assert again in run.changing and hook not in caplog.text
    run.execute()
    assert f"{hook} failed, which runs when the certificate was replaced" in caplog.text
    assert "tried again every hour and in every run" in caplog.text
    assert run.state.failed_hosts == set()
    assert again not in plan("all").changing
