"""certbot-certificate: what it keeps of Traefik's and certbot's, what it removes, and leaves."""

from __future__ import annotations

import base64
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from programs import certbot_certificate as kept
from programs import traefik_lineage

WANT: dict[str, Any] = {
    "names": ["hub.example.org", "www.example.org"], "directory": "https://acme.example.net/dir",
    "email": None, "key_type": "ec256", "challenge_port": 8,
}  # fmt: skip
FORGOTTEN = "urn:ietf:params:acme:error:accountDoesNotExist"
PAIR = (
    "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 90 -subj /CN=x"
    " -addext subjectAltName=DNS:hub.example.org,DNS:www.example.org -out {0} -keyout {1}"
)


def issue(certificate: Path, key: Path) -> None:
    subprocess.run(PAIR.format(certificate, key).split(), check=True, capture_output=True)


@pytest.fixture(autouse=True)
def public(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What Traefik got, as it lay on a host when Traefik was the client."""
    public, store, letsencrypt = (tmp_path / name for name in ("public", "acme.json", "certbot"))
    public.mkdir()
    issue(public / "fullchain.pem", public / "key.pem")
    (public / "wanted.json").write_text(json.dumps(WANT))
    certificate = base64.b64encode((public / "fullchain.pem").read_bytes()).decode()
    stored = {"acme-968b1ec3": {"Certificates": [{"certificate": certificate}]}}
    store.write_text(json.dumps(stored))
    monkeypatch.setattr(traefik_lineage, "PUBLIC", public)
    monkeypatch.setattr(traefik_lineage, "STORE", store)
    for module in (traefik_lineage, kept):
        monkeypatch.setattr(module, "CERTBOT", letsencrypt)
    monkeypatch.setattr(kept, "LIVE", letsencrypt / "live/hubstead")
    monkeypatch.setattr(kept, "RENEWAL", letsencrypt / "renewal/hubstead.conf")
    return public


def carry_over() -> None:
    mask = os.umask(0o022)
    try:
        traefik_lineage.main()
    finally:
        os.umask(mask)


def register() -> None:
    account = kept.accounts(WANT) / "0a1b"
    account.mkdir(parents=True)
    (account / "regr.json").touch()


def test_what_traefik_got_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    carry_over()
    assert kept.is_issued(WANT) and not kept.is_renewable(WANT)
    assert (kept.LIVE / "privkey.pem").stat().st_mode & 0o777 == 0o600
    asked = []

    def certbot(*arguments: str) -> str:
        asked.append(arguments[0])
        register()
        return ""

    monkeypatch.setattr(kept, "certbot", certbot)
    assert kept.make_renewable(WANT) == "" and asked == ["register"]
    assert kept.is_issued(WANT) and kept.is_renewable(WANT)
    assert kept.is_ours(kept.renewal(), WANT)
    assert kept.renewal()["elliptic_curve"] == "secp256r1"
    assert not kept.is_issued(WANT | {"directory": "https://other.example.net/dir"})


def test_a_certificate_that_traefik_did_not_get_is_not(public: Path) -> None:
    issue(public / "fullchain.pem", public / "key.pem")
    carry_over()
    assert not kept.RENEWAL.exists()


def test_nor_is_one_of_another_server(public: Path) -> None:
    other = WANT | {"directory": "https://other.example.net/dir"}
    (public / "wanted.json").write_text(json.dumps(other))
    carry_over()
    assert not kept.RENEWAL.exists()


def test_one_with_a_former_webroot_gets_other_options() -> None:
    carry_over()
    register()
    lines = kept.RENEWAL.read_text().replace("http01_port = 8\n", "account = 0a1b\n")
    webroot = "authenticator = webroot\nwebroot_path = /var/lib/hubstead/acme,\n[[webroot_map]]\n"
    kept.RENEWAL.write_text(lines + webroot)
    assert kept.is_issued(WANT) and kept.is_ours(kept.renewal(), WANT)
    assert not kept.is_renewable(WANT)
    assert kept.make_renewable(WANT) == "" and kept.is_renewable(WANT)
    assert "webroot_path" not in kept.renewal()


def test_one_that_came_over_http_gets_the_options_of_the_dns_and_back() -> None:
    dns = {"plugin": "dns-rfc2136", "credentials": kept.CREDENTIALS, "wait": 60}
    carry_over()
    register()
    for want in (WANT | {"dns": dns}, WANT, WANT | {"dns": dns | {"plugin": "dns-route53"}}):
        assert kept.is_issued(want) and not kept.is_renewable(want)
        assert kept.is_ours(kept.renewal(), want)
        assert kept.make_renewable(want) == "" and kept.is_renewable(want)
    assert "http01_port" not in kept.renewal()


def test_its_account_stays_beside_those_of_others() -> None:
    carry_over()
    register()
    others = kept.accounts(WANT) / "00000"
    others.mkdir()
    (others / "regr.json").touch()
    kept.RENEWAL.write_text(kept.RENEWAL.read_text() + "account = 0a1b\nhttp01_port = 80\n")
    assert kept.make_renewable(WANT) == "" and kept.renewal()["account"] == "0a1b"


def test_a_forgotten_account_goes_and_those_of_others_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server knows the owner's still, whose certificates need it."""
    notes = tmp_path / "hubstead.conf"
    monkeypatch.setattr(kept, "CERTBOT", tmp_path)
    monkeypatch.setattr(kept, "RENEWAL", notes)
    monkeypatch.setattr(kept, "certonly", lambda want: "")
    server = tmp_path / "accounts/acme.example.net/dir"
    for account in ("0wner", "f0rgotten"):
        (server / account).mkdir(parents=True)
    notes.write_text(f"account = f0rgotten\nserver = {WANT['directory']}\n")
    kept.order(WANT, lambda: FORGOTTEN)
    assert [path.name for path in server.iterdir()] == ["0wner"]
    # without notes, certbot had no choice
    notes.unlink()
    kept.order(WANT, lambda: FORGOTTEN)
    assert not server.exists()


def test_another_certbot_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As when its timer is at work: for two rounds here, and then for ever."""
    script = tmp_path / "certbot"
    script.write_text(
        "#!/bin/sh\ncd ${0%/*}; echo >>tried; [ $(wc -l <tried) -gt 2 ] && exit 0\n"
        f'echo "{kept.BUSY}." >&2; exit 1\n'
    )
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(kept, "LOG", tmp_path / "log")
    monkeypatch.setattr(kept, "PATIENCE", 3)
    assert kept.certbot("renew") == ""
    (tmp_path / "tried").unlink()
    monkeypatch.setattr(kept, "PATIENCE", 2)
    assert kept.BUSY in kept.certbot("renew")
