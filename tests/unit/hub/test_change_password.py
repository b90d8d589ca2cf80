"""People change their own password on the Hub's page."""

import re
import sqlite3
from typing import Any

PASSWORD = "correct horse"
NEW_PASSWORD = "battery staple"
WRONG = "Invalid username or password"


def test_a_password_that_must_be_changed_gives_no_session(hub: Any) -> None:
    hub.hub_users.ok("add", "katherine", "--generate")
    given = hub.hub_users.ok("initial-password", "katherine").strip()
    browser = hub.browser()
    answer = browser.login("katherine", given, next_url="/hub/token%3Fa%3Db")
    assert answer.status_code == 302
    path = answer.headers["Location"]
    assert path.startswith("/hub/change-password?")
    assert not browser.is_logged_in()
    page = browser.get(path).text
    assert 'value="katherine"' in page and "Before you go on" in page

    for new, again, says in (
        (NEW_PASSWORD, "another", "The two new passwords differ."),
        ("short", None, "too short"),
        ("katherine", None, "differ from the username"),
        (given, None, "differ from the current one"),
    ):
        answer = browser.change_password(given, new, again, page=path, username="katherine")
        assert (answer.status_code, says in answer.text) == (400, True), says
        assert given not in answer.text
    answer = browser.change_password("wrong", NEW_PASSWORD, page=path, username="katherine")
    assert (answer.status_code, WRONG in answer.text) == (403, True)
    assert not browser.is_logged_in()

    answer = browser.change_password(given, NEW_PASSWORD, page=path, username="katherine")
    assert (answer.status_code, answer.headers["Location"]) == (302, "/hub/token?a=b")
    assert browser.is_logged_in()
    assert hub.hub_users("initial-password", "katherine").out == ""
    assert hub.browser().login("katherine", given).status_code == 403
    assert hub.browser().login("katherine", NEW_PASSWORD).status_code == 302


def test_a_reset_ends_the_session(hub: Any) -> None:
    browser = hub.logged_in("mary")
    hub.hub_users.ok("passwd", "mary", "--generate")
    hub.eventually(lambda: not browser.is_logged_in())


def test_next_leads_nowhere_else(hub: Any) -> None:
    for number, next_url in enumerate(("https://evil.example/", "//evil.example/", "/\\evil")):
        name = f"next{number}"
        browser = hub.person(name, "--must-change")
        path = browser.login(name, next_url=next_url).headers["Location"]
        answer = browser.change_password(PASSWORD, NEW_PASSWORD, page=path, username=name)
        assert answer.status_code == 302
        assert re.match(r"/(hub/spawn|%5Cevil)", answer.headers["Location"])


def test_changing_ones_password_logs_the_others_out(hub: Any) -> None:
    browser, other = hub.logged_in("dorothy"), hub.browser()
    assert other.login("dorothy").status_code == 302
    page = browser.get("/hub/home").text
    assert 'href="/hub/change-password"' in page
    page = browser.get("/hub/change-password").text
    assert 'value="dorothy"' in page and "readonly" in page

    answer = browser.change_password("wrong", NEW_PASSWORD)
    assert (answer.status_code, "current password is wrong" in answer.text) == (403, True)
    # The name in the form is not what counts for who is logged in.
    answer = browser.change_password(PASSWORD, NEW_PASSWORD, username="ada")
    assert answer.status_code == 302
    assert "Your password has been changed" in browser.get(answer.headers["Location"]).text
    assert browser.is_logged_in()
    assert not other.is_logged_in()
    assert hub.browser().login("dorothy").status_code == 403
    assert hub.browser().login("dorothy", NEW_PASSWORD).status_code == 302
    assert hub.browser().login("ada").status_code == 302


def test_sessions_with_servers_end_too_but_not_ones_own(hub: Any) -> None:
    browser = hub.logged_in("annie")
    own = browser.session.cookies.get("jupyterhub-session-id")
    with sqlite3.connect(hub.log.with_name("hub.sqlite")) as database:
        (user_id,) = database.execute("SELECT id FROM users WHERE name = 'annie'").fetchone()
        # As a server gets one when its user's browser opens it; None is a token made by hand.
        for note, session in (("own", own), ("other", "0123"), ("by hand", None)):
            database.execute(
                "INSERT INTO api_tokens (user_id, session_id, hashed, prefix, client_id, note)"
                " VALUES (?, ?, ?, 'x', 'jupyterhub', ?)",
                (user_id, session, note, note),
            )
        database.commit()
        assert browser.change_password(PASSWORD, NEW_PASSWORD).status_code == 302
        left = database.execute("SELECT note FROM api_tokens WHERE user_id = ?", (user_id,))
        assert left.fetchall() == [("own",), ("by hand",)]


def test_changing_twice_at_once_succeeds_once(hub: Any) -> None:
    """The database takes a new hash only for the one that was checked."""
    from hubstead_userdb.reader import UsersReader

    hub.person("radia")
    reader = UsersReader(hub.hub_users.reader_dsn, 3, "test")
    user = reader.find("radia")
    assert user is not None and user.password_hash not in repr(user)
    hub.hub_users.ok("passwd", "radia", "--password-stdin", stdin="reset by an admin\n")
    assert not reader.change_password("radia", user.password_hash, user.password_hash)
    assert hub.browser().login("radia", "reset by an admin").status_code == 302
