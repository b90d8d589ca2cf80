"""Logging in and out, as a person and as the proxy see it."""

import re

import pytest

from tests.kit.userdb import NEW_PASSWORD, PASSWORD

from .conftest import FORM, ORIGIN, SESSION, TOKEN, LoginService, Visitor

WRONG = "Invalid username or password."


def test_login_opens_jupyterlab_and_logout_ends_it(service: LoginService) -> None:
    ada = service.person("ada")
    assert ada.check().status_code == 401
    answer = ada.login(" Ada ")
    assert (answer.status_code, answer.headers["Location"]) == (303, "/lab")
    answer = ada.check()
    assert answer.status_code == 204
    assert answer.headers["X-Jupyter-Token"] == TOKEN
    assert answer.headers["X-Session-User"] == "ada"
    assert 890 < int(answer.headers["X-Session-Seconds"]) <= 900
    ada.cookies = {"_xsrf": "2|x"} | ada.cookies | {"other": '"1"'}
    assert ada.check().headers["X-Jupyter-Cookie"] == '_xsrf=2|x; other="1"'
    page = ada.get("/auth/account").text
    assert "ada" in page and "15" in page and TOKEN not in page
    assert ada.get("/auth/login").headers["Location"] == "/lab"
    assert ada.get("/auth/logout").headers["Location"] == "/auth/account"
    assert ada.is_logged_in()

    thief = service.visitor()
    thief.cookies = dict(ada.cookies)
    assert thief.is_logged_in()
    answer = ada.logout()
    assert (answer.status_code, answer.headers["Clear-Site-Data"]) == (303, '"cache"')
    assert "You are logged out" in ada.get(answer.headers["Location"]).text
    assert SESSION not in ada.cookies
    assert not thief.is_logged_in()
    assert thief.get("/auth/account").headers["Location"] == "/auth/login"


INJECTIONS = [
    "' OR '1'='1",
    "ada'--",
    "ada' UNION SELECT 1--",
    '"; DROP TABLE users; --',
    "%",
    "\\",
]


@pytest.mark.parametrize("text", [*INJECTIONS, "a\0b", "x" * 73, "ä" * 40, "", "\ud800"])
def test_no_odd_text_in_either_field_gets_in(service: LoginService, text: str) -> None:
    service.person("ada")
    for username, password in (("ada", text), (text, PASSWORD), (text, text)):
        visitor = service.visitor()
        if "\ud800" in text:
            # What is no UTF-8, as it is on the wire.
            visitor.get("/auth/login")
            answer = visitor.request("POST", "/auth/login", content=b"username=ada&password=%FF")
        else:
            answer = visitor.login(username, password)
        assert answer.status_code == 403
        assert SESSION not in visitor.cookies


def test_the_answer_does_not_tell_which_half_was_wrong(service: LoginService) -> None:
    service.person("ada")
    service.person("bob")
    service.hub_users.ok("disable", "bob", "--force")
    bodies = set()
    for name, password in (("ada", "wrong"), ("eve", PASSWORD), ("bob", PASSWORD)):
        answer = service.visitor().login(name, password)
        assert answer.status_code == 403 and WRONG in answer.text
        page = re.sub(r'(name="csrf" value=)"[^"]*"', r"\1", answer.text)
        bodies.add(page.replace(f'value="{name}"', ""))
    assert len(bodies) == 1


def test_ten_megabytes_are_refused_quickly(service: LoginService) -> None:
    visitor = service.visitor()
    for path in ("/auth/login", "/auth/password"):
        answer = visitor.request("POST", path, data={"password": "x" * 10_000_000})
        assert answer.status_code == 413
        assert "more than anybody would type" in answer.text


@pytest.mark.parametrize("cookie", ["", "x", "A" * 43, "'; DROP TABLE users; --", "x" * 4000])
def test_forged_cookies_are_no_session(service: LoginService, cookie: str) -> None:
    ada = service.logged_in("ada")
    for value in (cookie, ada.cookies[SESSION][:-1], ada.cookies[SESSION] + "x"):
        visitor = service.visitor()
        answer = visitor.get(
            "/internal/session", Cookie=f"{SESSION}={value}".encode().decode("latin-1")
        )
        assert answer.status_code == 401
        assert "X-Jupyter-Token" not in answer.headers


def test_the_session_ends_when_its_time_is_up(service: LoginService) -> None:
    ada = service.logged_in("ada")
    with service.hub_users.owner() as owner:
        owner.execute("UPDATE login_sessions SET expires_at = now() + interval '30 seconds'")
        assert "for another 1\n" in ada.get("/auth/account").text
        owner.execute("UPDATE login_sessions SET expires_at = now()")
    assert not ada.is_logged_in()


@pytest.mark.parametrize(
    "command", [["disable", "ada"], ["remove", "ada", "--yes"], ["passwd", "ada", "--generate"]]
)
def test_the_session_ends_with_the_account(service: LoginService, command: list[str]) -> None:
    ada = service.logged_in("ada")
    service.hub_users.ok(*command)
    assert not ada.is_logged_in()


def test_a_form_without_its_token_does_nothing(service: LoginService) -> None:
    ada = service.person("ada")
    fields = {"username": "ada", "password": PASSWORD}
    for form in (fields, fields | {"csrf": "x"}, fields | {"csrf": ""}, fields | {"csrf": "ä"}):
        answer = ada.request("POST", "/auth/login", data=form)
        assert (answer.status_code, "had expired" in answer.text) == (403, True)
    # A token of one's own does not fit the form of somebody else's browser.
    eve = service.visitor()
    token = re.findall(r'name="csrf" value="([^"]*)"', eve.get("/auth/login").text)[0]
    assert ada.request("POST", "/auth/login", data=fields | {"csrf": token}).status_code == 403
    ada.cookies[FORM] = ada.cookies[FORM][:-2] + "xx"
    assert ada.request("POST", "/auth/login", data=fields | {"csrf": token}).status_code == 403
    assert SESSION not in ada.cookies

    assert ada.login("ada").status_code == 303
    assert ada.request("POST", "/auth/logout").status_code == 403
    assert ada.is_logged_in()


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "https://hub.example.org", ""])
def test_another_site_cannot_make_the_browser_do_anything(
    service: LoginService, origin: str
) -> None:
    ada = service.logged_in("ada")
    assert ada.check(Origin=ORIGIN).status_code == 204
    answer = ada.check(Origin=origin)
    assert answer.status_code == 403 and "X-Jupyter-Token" not in answer.headers
    for path in ("login", "logout", "password"):
        answer = ada.request("POST", f"/auth/{path}", headers={"Origin": origin})
        assert (answer.status_code, "another site" in answer.text) == (403, True)


@pytest.mark.parametrize(
    ("wanted", "leads_to"),
    [
        ("/lab/tree/a%20b.ipynb?x=1%262", "/lab/tree/a%20b.ipynb?x=1%262"),
        ("https://evil.example/", "/lab"),
        ("//evil.example", "/lab"),
        ("/\\evil.example", "/lab"),
        ("/\t/evil.example", "/lab"),
        ("/a\r\nSet-Cookie: x=y", "/lab"),
        ("javascript:alert(1)", "/lab"),
        ("", "/lab"),
    ],
)
def test_next_leads_nowhere_else(service: LoginService, wanted: str, leads_to: str) -> None:
    service.person("ada")
    answer = service.visitor().get(
        "/internal/login-needed",
        **{"X-Original-Method": "GET", "X-Original-URI": "/lab?a=1&b=2", "Accept": "text/html"},
    )
    assert answer.headers["Location"] == "/auth/login?next=%2Flab%3Fa%3D1%26b%3D2"
    visitor = service.visitor()
    answer = visitor.post("/auth/login", username="ada", password=PASSWORD, next=wanted)
    assert answer.headers["Location"] == leads_to


def test_who_is_not_logged_in_is_led_to_the_form_or_told(service: LoginService) -> None:
    def ask(method: str = "GET", **headers: str) -> tuple[int, str | None]:
        answer = service.visitor().get(
            "/internal/login-needed",
            **{"X-Original-Method": method, "X-Original-URI": "//evil", "Accept": "text/html"}
            | headers,
        )
        return answer.status_code, answer.headers.get("Location")

    assert ask() == (302, "/auth/login")
    assert ask("POST") == (401, None)
    assert ask(Accept="application/json") == (401, None)
    assert ask(**{"Sec-Fetch-Mode": "cors"}) == (401, None)


def test_the_token_is_read_anew_and_its_lack_is_no_session(service: LoginService) -> None:
    ada = service.logged_in("ada")
    service.token_file.write_text("another-token-of-jupyterlab")
    assert ada.check().headers["X-Jupyter-Token"] == "another-token-of-jupyterlab"
    for content in ("", "short", "two\nlines-of-a-broken-file"):
        service.token_file.write_text(content)
        answer = ada.check()
        assert answer.status_code == 503 and "X-Jupyter-Token" not in answer.headers
    assert "JupyterLab is starting" in ada.get("/internal/unavailable").text
    assert ada.get("/internal/health").status_code == 503
    service.token_file.write_text(TOKEN)
    assert ada.get("/internal/health").text == "ok\n"
    assert ada.get("/internal/unavailable").status_code == 503


def test_pages_are_neither_kept_nor_framed_nor_scripted(service: LoginService) -> None:
    visitor = service.visitor()
    for path in ("/auth/login", "/auth/password", "/auth/none", "/internal/unavailable"):
        answer = visitor.get(path)
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["X-Frame-Options"] == "DENY"
        policy = answer.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy
        assert "<script" not in answer.text and " style=" not in answer.text
        assert "Traceback" not in answer.text
    style = visitor.get(re.findall(r'href="(\S+\.css[^"]*)"', visitor.get("/auth/login").text)[0])
    assert style.headers["Content-Type"].startswith("text/css")
    assert "max-age" in style.headers["Cache-Control"]


def test_a_one_time_password_gives_no_session_before_it_is_changed(service: LoginService) -> None:
    service.hub_users.ok("add", "katherine", "--generate")
    given = service.hub_users.ok("initial-password", "katherine").strip()
    visitor = service.visitor()
    answer = visitor.login("katherine", given, page="/auth/login?next=%2Flab%2Ftree%2Fx")
    page = answer.headers["Location"]
    assert answer.status_code == 303 and page.startswith("/auth/password?username=katherine")
    assert not visitor.is_logged_in()
    assert "Before you go on" in visitor.get(page).text

    def change(new: str, again: str | None = None, current: str = given) -> tuple[int, str]:
        answer = visitor.change_password(current, new, again, page, username="katherine")
        return answer.status_code, answer.text

    for new, again, says in (
        (NEW_PASSWORD, "another", "The two new passwords differ."),
        ("short", None, "too short"),
        ("ä" * 40, None, "too long"),
        ("katherine", None, "differ from the username"),
        (given, None, "differ from the current one"),
    ):
        status, text = change(new, again)
        assert (status, says in text) == (400, True), says
        assert given not in text
    status, text = change(NEW_PASSWORD, current="wrong")
    assert (status, WRONG in text) == (403, True)
    assert not visitor.is_logged_in()

    answer = visitor.change_password(given, NEW_PASSWORD, page=page, username="katherine")
    assert (answer.status_code, answer.headers["Location"]) == (303, "/lab/tree/x")
    assert visitor.is_logged_in()
    assert service.visitor().login("katherine", given).status_code == 403
    assert service.visitor().login("katherine", NEW_PASSWORD).status_code == 303


def test_changing_ones_password_logs_the_others_out(service: LoginService) -> None:
    ada, other = service.logged_in("ada"), service.visitor()
    service.person("eve")
    assert other.login("ada").status_code == 303
    assert "readonly" in ada.get("/auth/password").text
    answer = ada.change_password("wrong", NEW_PASSWORD)
    assert (answer.status_code, "current password is wrong" in answer.text) == (403, True)
    # The name in the form is not what counts for who is logged in.
    answer = ada.change_password(PASSWORD, NEW_PASSWORD, username="eve")
    assert answer.status_code == 303
    assert "Your password has been changed" in ada.get(answer.headers["Location"]).text
    assert ada.is_logged_in()
    assert not other.is_logged_in()
    assert service.visitor().login("ada", NEW_PASSWORD).status_code == 303
    assert service.visitor().login("eve").status_code == 303


def test_logging_in_again_ends_the_session_that_the_browser_had(service: LoginService) -> None:
    ada = service.visitor()
    old = service.logged_in("ada")
    token = re.findall(r'name="csrf" value="([^"]*)"', ada.get("/auth/login").text)[0]
    ada.cookies[SESSION] = old.cookies[SESSION]
    fields = {"username": "ada", "password": PASSWORD, "csrf": token}
    assert ada.request("POST", "/auth/login", data=fields).status_code == 303
    assert ada.is_logged_in() and not old.is_logged_in()


def test_guessing_has_a_limit_for_the_name_at_the_address(service: LoginService) -> None:
    service.person("ada")
    guesser = service.visitor("192.0.2.66")
    answers = [guesser.login("ada", "wrong") for _ in range(11)]
    assert [answer.status_code for answer in answers] == [403] * 10 + [429]
    assert "Try again in 5 minutes" in answers[-1].text
    assert int(answers[-1].headers["Retry-After"]) > 290
    assert guesser.login("ada").status_code == 429
    # What the client itself says of its address does not count, only what the proxy adds.
    liar = Visitor(service.socket, "203.0.113.9, 192.0.2.66")
    assert liar.login("ada").status_code == 429
    assert service.visitor("192.0.2.67").login("ada").status_code == 303


def test_the_cookies_hold_nothing_but_a_secret(service: LoginService) -> None:
    ada = service.logged_in("ada")
    assert re.fullmatch(r"[\w-]{43}", ada.cookies[SESSION])
    with service.hub_users.owner() as owner:
        row = owner.execute("SELECT token_hash FROM login_sessions").fetchone()
    assert row is not None and ada.cookies[SESSION].encode() not in bytes(row[0])
