"""Tokens from when there was no limit get an end, and nothing else does."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from jupyterhub import orm
from jupyterhub.utils import utcnow

from hubstead_hub.tokens import limit

YEAR = timedelta(days=365)
SECRET = "declared-by-the-owner"


@pytest.fixture
def app() -> Iterator[Any]:
    """What of the Hub has tokens, with ada's running server."""
    db = orm.new_session_factory("sqlite:///:memory:")()
    db.add(orm.OAuthClient(identifier="jupyterhub"))
    ada, culler = orm.User(name="ada"), orm.Service(name="culler")
    server = orm.Server(base_url="/user/ada/")
    db.add_all([ada, culler, orm.Spawner(user=ada, name="", server=server)])
    db.commit()
    ada.new_api_token(note="of before")
    ada.new_api_token(note="command-line generated")
    ada.new_api_token(note="for an hour", expires_in=3600)
    ada.new_api_token(note="Server at /user/ada/")
    ada.new_api_token(note="Server at /user/ada/gone/")
    ada.new_api_token(note="a browser", session_id="x")
    ada.new_api_token(SECRET, note="from config", generated=False)
    culler.new_api_token(note="a service")
    yield SimpleNamespace(
        db=db, token_expires_in_max_seconds=YEAR.total_seconds(), api_tokens={SECRET: "ada"}
    )
    db.close()


def ends(app: Any) -> dict[str, timedelta | None]:
    """Note to how much time is left."""
    now = utcnow(with_tz=False)
    return {
        token.note: token.expires_at and token.expires_at - now
        for token in app.db.query(orm.APIToken)
    }


def test_only_people_s_tokens_without_an_end_get_one(app: Any) -> None:
    limit(app)
    found = ends(app)
    never = {note for note, left in found.items() if left is None}
    assert never == {"Server at /user/ada/", "a browser", "from config", "a service"}
    assert found["for an hour"] < timedelta(hours=1)
    for note in ("of before", "command-line generated", "Server at /user/ada/gone/"):
        assert YEAR - timedelta(minutes=1) < found[note] <= YEAR
    # a later start takes nothing away, and gives nothing more
    before = {token.id: token.expires_at for token in app.db.query(orm.APIToken)}
    limit(app)
    assert {token.id: token.expires_at for token in app.db.query(orm.APIToken)} == before


def test_without_a_limit_they_stay(app: Any) -> None:
    app.token_expires_in_max_seconds = 0
    limit(app)
    assert [note for note, left in ends(app).items() if left] == ["for an hour"]
