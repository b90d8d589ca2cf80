"""certbot-certificate: what it removes of certbot's, and what it leaves."""

from __future__ import annotations

from pathlib import Path

import pytest

from programs import certbot_certificate as program

FORGOTTEN = "urn:ietf:params:acme:error:accountDoesNotExist"
WANTED = {"directory": "https://acme.example.net/dir"}


def test_a_forgotten_account_goes_and_those_of_others_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server knows the owner's still, whose certificates need it."""
    notes = tmp_path / "hubstead.conf"
    monkeypatch.setattr(program, "CERTBOT", tmp_path)
    monkeypatch.setattr(program, "RENEWAL", notes)
    monkeypatch.setattr(program, "certonly", lambda want: "")
    server = tmp_path / "accounts/acme.example.net/dir"
    for account in ("0wner", "f0rgotten"):
        (server / account).mkdir(parents=True)
    notes.write_text(f"account = f0rgotten\nserver = {WANTED['directory']}\n")
    program.order(WANTED, lambda: FORGOTTEN)
    assert [path.name for path in server.iterdir()] == ["0wner"]
    # without notes, certbot had no choice
    notes.unlink()
    program.order(WANTED, lambda: FORGOTTEN)
    assert not server.exists()
