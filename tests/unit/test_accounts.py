"""Ways to log in and who may: the settings, and what the Hub is told."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from jupyterhub.scopes import scope_definitions
from pyinfra.api.exceptions import PyinfraError

from hubstead.operations import openid, providers
from hubstead.settings.model import check
from hubstead.settings.services import SCOPES
from tests.kit.certificates import sign
from tests.unit.plans import HUB, PROJECT, TRUST, Plan, Run

ISSUER = "https://login.example.org/realms/lab"
DOCUMENT = {
    "authorization_endpoint": f"{ISSUER}/auth",
    "token_endpoint": f"{ISSUER}/token",
    "userinfo_endpoint": f"{ISSUER}/userinfo",
    "end_session_endpoint": f"{ISSUER}/logout",
}
OIDC = {
    "hub_authenticator": "oidc",
    "hub_oidc_issuer": ISSUER,
    "hub_oidc_client_id": "hub",
}
GITHUB = {"hub_authenticator": "github", "hub_github_client_id": "Iv1"}
GOOGLE = {"hub_authenticator": "google", "hub_google_client_id": "4711"}
LDAP = {
    "hub_authenticator": "ldap",
    "hub_ldap_url": ["ldap://one.example.org", "ldaps://two.example.org:1636"],
    "hub_ldap_base": "ou=people,dc=example,dc=org",
    "hub_ldap_bind_dn": "cn=hub,dc=example,dc=org",
}
SAML = {"hub_authenticator": "saml", "hub_saml_metadata": "https://login.example.org/saml"}
#: All three at once
SEVERAL = {
    "hub_authenticators": ["users-table", "github", "oidc"],
    "hub_oidc_issuer": ISSUER,
    "hub_oidc_client_id": "hub",
    "hub_github_client_id": "Iv1",
}
LDAP_AND_OIDC = {
    **{key: value for key, value in (LDAP | OIDC).items() if key != "hub_authenticator"},
    "hub_authenticators": ["ldap", "oidc"],
}
BOTH_ADAS = {"hub_allowed_users": ["oidc:ada", "github:ada"]}
GROUPS = {"hub_ldap_group_base": "ou=groups,dc=example,dc=org"}
ADA = {"hub_allowed_users": ["ada"]}


@pytest.mark.parametrize(
    "data",
    [
        OIDC | ADA,
        OIDC | {"hub_allowed_groups": ["Labor Müller"]},
        OIDC | {"hub_allow_everyone": True},
        GITHUB | {"hub_github_organizations": ["lab", "lab:staff"]},
        GOOGLE | {"hub_google_domain": "example.org"},
        GOOGLE | {"hub_admins": ["ada@example.org"]},
        LDAP | ADA,
        LDAP | GROUPS | {"hub_allowed_groups": ["lab"]},
        LDAP | {"hub_allowed_groups": ["cn=lab,ou=groups,dc=example,dc=org"]},
        LDAP | ADA | {"hub_ldap_filter": "(!(pwdAccountLockedTime=000001010000Z))"},
        LDAP | ADA | {"hub_ldap_filter": r"(&(|(ou=a)(ou=b\2a))(!(x:1.2.803:=2))(mail=*@x.org))"},
        SAML | ADA | {"hub_saml_username_attribute": "urn:oid:0.9.2342.19200300.100.1.1"},
        SAML | {"hub_admin_groups": ["staff"], "hub_saml_metadata": "idp.xml"},
        SEVERAL | BOTH_ADAS,
        SEVERAL | {"hub_allow_everyone": ["oidc", "github"]},
        SEVERAL | {"hub_allowed_groups": ["oidc:Labor: x"], "hub_github_organizations": ["lab"]},
        SEVERAL | BOTH_ADAS | {"hub_admins": ["users-table:grace", "oidc:grace"]},
        SEVERAL | BOTH_ADAS | {"hub_username_map": {"oidc:ada": "a", "github:ada": "ada"}},
        SEVERAL | BOTH_ADAS | {"hub_groups": {"lab": {"from": ["oidc:lab"], "members": ["ada"]}}},
        OIDC | ADA | {"hub_authenticators": ["oidc"]},
        {
            **LDAP_AND_OIDC,
            **GROUPS,
            "hub_allowed_groups": ["ldap:lab"],
            "hub_allow_everyone": ["oidc"],
        },
        # settled for another day
        {"hub_github_client_id": "Iv1", "hub_oidc_issuer": ISSUER},
        {"hub_blocked_users": ["eve"]},
    ],
)
def test_a_way_to_log_in_is_settled(data: dict[str, Any]) -> None:
    assert check(TRUST | data) == []


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (OIDC, ["`hub_authenticator` = 'oidc' lets nobody in", "`hub_allowed_users`"]),
        (OIDC | {"hub_blocked_users": ["eve"]}, ["lets nobody in"]),
        (GITHUB, ["'github' lets nobody in", "`hub_github_organizations`"]),
        (GOOGLE, ["'google' lets nobody in", "`hub_google_domain`"]),
        (
            ADA | {"hub_authenticator": "oidc"},
            ["needs `hub_oidc_issuer` and `hub_oidc_client_id`"],
        ),
        (ADA | {"hub_authenticator": "github"}, ["needs `hub_github_client_id`"]),
        (OIDC | ADA | {"hub_oidc_issuer": "http://login.example.org"}, ["`hub_oidc_issuer`"]),
        (OIDC | ADA | {"hub_oidc_scopes": ["profile"]}, ['"openid" is what makes it']),
        (GITHUB | ADA | {"hub_github_url": "github.example.org"}, ["`hub_github_url`"]),
        (GOOGLE | ADA | {"hub_google_domain": "@example.org"}, ["`hub_google_domain`"]),
        (OIDC | {"hub_allowed_users": ["Ada"]}, ["'Ada' is not a user name"]),
        (OIDC | {"hub_allowed_users": ["../x"]}, ["'../x' is not a user name"]),
        (OIDC | {"hub_allowed_groups": [" "]}, ["is not a group's name"]),
        (OIDC | ADA | {"hub_blocked_users": ["ada"]}, ["`hub_blocked_users` has 'ada'"]),
        (OIDC | ADA | {"hub_username_map": {"a@b.org": "a", "c@b.org": "a"}}, ["two people"]),
        (OIDC | ADA | {"hub_username_map": {"A@b.org": "a", "a@b.org": "b"}}, ["capitals"]),
        (OIDC | ADA | {"hub_username_map": {"a": "b", "b": "c"}}, ["another name itself"]),
        (OIDC | ADA | {"hub_alowed_users": []}, ["did you mean `hub_allowed_users`?"]),
        (ADA | {"hub_authenticator": "ldap"}, ["needs `hub_ldap_url` and `hub_ldap_base`"]),
        (LDAP, ["'ldap' lets nobody in"]),
        (LDAP | {"hub_allowed_groups": ["lab"]}, ["`hub_ldap_group_base`", "'lab'"]),
        *(
            (LDAP | ADA | {"hub_ldap_url": [url]}, ["`hub_ldap_url`", "is not a server"])
            for url in (
                "ldap.example.org",
                "http://x.org",
                "ldap://x.org/dc=org",
                "ldap://a@x.org",
                "ldap://x.org:99999",
                "ldap://x y.org",
                "ldapi://%2Frun",
            )
        ),
        *(
            (LDAP | ADA | {"hub_ldap_filter": text}, ["`hub_ldap_filter`", "in brackets"])
            for text in (
                "uid=a",
                "(uid=a",
                "(uid=a))",
                "(uid=a)(uid=b)",
                "(&(uid=a)",
                "()",
                "(&())",
                r"(uid=\zz)",
                "(uid=\0)",
                "(!(a=b)(c=d))",
                "(&)",
                "",
                "(uid)",
            )
        ),
        (LDAP | ADA | {"hub_ldap_base": "example.org"}, ["`hub_ldap_base`"]),
        (LDAP | ADA | {"hub_ldap_group_filter": "(member=*)"}, ["{dn}"]),
        (LDAP | ADA | {"hub_ldap_user_attribute": "uid=*)(x"}, ["`hub_ldap_user_attribute`"]),
        (ADA | {"hub_authenticator": "saml"}, ["needs `hub_saml_metadata`"]),
        (SAML, ["'saml' lets nobody in"]),
        *(
            (SAML | ADA | {"hub_saml_metadata": source}, ["`hub_saml_metadata`", "nor a file"])
            for source in ("http://login.example.org/saml", "https://", "")
        ),
        (SAML | ADA | {"hub_saml_username_attribute": " "}, ["`hub_saml_username_attribute`"]),
        (SAML | ADA | {"hub_saml_session_hours": 0}, ["`hub_saml_session_hours`"]),
        ({"hub_authenticators": ["oidc", "odic"]}, ["`hub_authenticators[1]`", "'oidc'"]),
        ({"hub_authenticators": ["github", "oidc", "github"]}, ["'github' is there twice"]),
        (
            {"hub_authenticators": ["pam", "oidc", "ldap"]},
            ["'pam' and 'ldap' would both have the one form"],
        ),
        ({"hub_authenticators": ["oidc", "token"]}, ["'token' is no login at all"]),
        (
            SEVERAL | BOTH_ADAS | {"hub_authenticator": "oidc"},
            ["`hub_authenticator` = 'oidc' and `hub_authenticators` = ", "remove one of them"],
        ),
        (
            SEVERAL | {"hub_allowed_users": ["oidc:ada"]},
            ["'github' of `hub_authenticators` lets nobody in", "begin with 'github:'"],
        ),
        (SEVERAL | {"hub_allowed_users": ["github:ada"]}, ["'oidc' of `hub_authenticators`"]),
        (
            SEVERAL | BOTH_ADAS | {"hub_github_client_id": None},
            ["'github' of `hub_authenticators` needs `hub_github_client_id`"],
        ),
        (
            SEVERAL | {"hub_allowed_users": ["oidc:ada", "github:ada", "ada"]},
            ["`hub_allowed_users`: 'ada' is of none of", "such as 'github:ada'"],
        ),
        (SEVERAL | BOTH_ADAS | {"hub_admins": ["google:ada"]}, ["`hub_admins`: 'google:ada'"]),
        (SEVERAL | BOTH_ADAS | {"hub_allowed_groups": ["lab"]}, ["`hub_allowed_groups`: 'lab'"]),
        (SEVERAL | BOTH_ADAS | {"hub_username_map": {"a@b.org": "a"}}, ["'github:a@b.org'"]),
        (SEVERAL | {"hub_allow_everyone": True}, ["say whose people", "['github']"]),
        (SEVERAL | BOTH_ADAS | {"hub_allow_everyone": ["saml"]}, ["`hub_allow_everyone`: 'saml'"]),
        (
            SEVERAL | BOTH_ADAS | {"hub_allow_everyone": ["users-table"]},
            ["'users-table' is of the users table, which says itself"],
        ),
        (SEVERAL | BOTH_ADAS | {"hub_blocked_users": ["ada"]}, ["`hub_blocked_users` has 'ada'"]),
        (
            SEVERAL | BOTH_ADAS | {"hub_groups": {"lab": {"from": ["lab"]}}},
            ["'lab' has people `from` 'lab'", "'oidc:lab'"],
        ),
        (
            SEVERAL | BOTH_ADAS | {"hub_groups": {"lab": {"from": ["github:lab"]}}},
            ["'github' of `hub_authenticators` tells nothing"],
        ),
        (
            LDAP_AND_OIDC | {"hub_allowed_groups": ["ldap:lab", "oidc:lab"]},
            ["`hub_ldap_group_base`", "'lab'"],
        ),
        *(
            (OIDC | ADA | {"hub_allow_everyone": value}, ["`hub_allow_everyone` = ", "a list of"])
            for value in ("oidc", ["odic"], "maybe")
        ),
        (OIDC | {"hub_allow_everyone": ["oidc"]}, ["with one it is True or False"]),
        (OIDC | {"hub_allowed_users": ["oidc:ada"]}, ["with one it is 'ada'"]),
        ({"hub_authenticator": "odic"}, ["'github'", "'oidc'"]),
        ({"hub_authenticator": "token"}, ["`hub_service_accounts`"]),
        ({"hub_service_accounts": {"portal": ["admin:user"]}}, ["'admin:user'", "no scope"]),
        ({"hub_service_accounts": {"portal": ["servers!eve"]}}, ["what follows !"]),
        ({"hub_service_accounts": {"portal": []}}, ["may do nothing"]),
        ({"hub_service_accounts": {"Portal": ["users"]}}, ["no name of a service"]),
        ({"hub_service_accounts": {"metrics": ["users"]}}, ["Hubstead's own"]),
    ],
)
def test_what_lets_nobody_in_or_the_wrong_one_is_refused(
    data: dict[str, Any], words: list[str]
) -> None:
    (mistake,) = check(TRUST | data)
    for word in words:
        assert word in mistake


@pytest.fixture
def brought(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, list[Path]]]:
    """The secrets that providers gave; which documents were asked for."""
    asked: list[tuple[str, list[Path]]] = []

    def document(issuer: str, authorities: list[Path]) -> dict[str, str]:
        asked.append((issuer, authorities))
        return DOCUMENT

    monkeypatch.setattr(openid, "document", document)
    for name in ("OIDC", "GITHUB", "GOOGLE"):
        monkeypatch.setenv(f"HUBSTEAD_HUB_{name}_CLIENT_SECRET", f"the secret of {name}")
    monkeypatch.setenv("HUBSTEAD_HUB_LDAP_BIND_PASSWORD", "the secret of LDAP")
    return asked


def traits(run: Run) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(run.files["/etc/jupyterhub/settings.json"])["traits"]
    return found


def test_the_hub_is_told_the_addresses_of_the_document(
    plan: Plan, brought: list[tuple[str, list[Path]]]
) -> None:
    run = plan(data=OIDC | ADA | {"hub_base_url": "/jupyter/", "hub_names": ["hub.example.org"]})
    run.execute()
    assert brought == [(ISSUER, [])]
    told = traits(run)
    assert told["JupyterHub"]["authenticator_class"] == "hubstead_hub.oauth.OpenIDConnect"
    provider = told["OpenIDConnect"]
    assert provider["token_url"] == f"{ISSUER}/token"
    assert provider["end_session_url"] == f"{ISSUER}/logout"
    assert provider["oauth_callback_url"] == "https://hub.example.org/jupyter/hub/oauth_callback"
    assert "manage_groups" not in provider
    assert "UsersTableAuthenticator" not in told
    files = run.files
    assert files["/etc/jupyterhub/credentials/client-secret"] == "the secret of OIDC"
    assert len(files["/etc/jupyterhub/credentials/crypt-key"]) == 64
    unit = files["/etc/systemd/system/jupyterhub.service"]
    assert "LoadCredential=client-secret:" in unit and "LoadCredential=users:" not in unit
    assert "the secret of" not in "\n".join(run.sent.commands)
    # of the part's lock
    assert any("oauthenticator==" in text for text in run.sent.inputs)
    assert not [name for name in run.names if name.startswith("userdb")]


def test_a_host_is_asked_where_the_control_machine_gets_no_answer(
    plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HUBSTEAD_HUB_OIDC_CLIENT_SECRET", "the secret of OIDC")
    monkeypatch.setattr(providers, "_here", lambda *_: "no route to host")
    asked = {"openid-configuration": json.dumps(DOCUMENT)}
    run = plan(data=OIDC | ADA, responses=asked)
    run.execute()
    assert traits(run)["OpenIDConnect"]["token_url"] == f"{ISSUER}/token"
    with pytest.raises(PyinfraError, match=f"From this machine: no route to host. From .*{HUB}: "):
        plan(data=OIDC | ADA, responses={"openid-configuration": "Name or service not known"})


def test_groups_are_asked_for_where_one_counts(plan: Plan, brought: object) -> None:
    run = plan(data=OIDC | {"hub_admin_groups": ["staff"], "hub_oidc_groups_claim": "realm.roles"})
    run.execute()
    provider = traits(run)["OpenIDConnect"]
    assert provider["manage_groups"] is True
    assert provider["auth_state_groups_key"] == "oauth_user.realm.roles"


@pytest.mark.parametrize(
    ("data", "name", "expected"),
    [
        (
            GITHUB | {"hub_github_organizations": ["lab"]},
            "GitHub",
            {"allowed_organizations": ["lab"], "scope": ["read:org"]},
        ),
        (GITHUB | ADA, "GitHub", {"allowed_organizations": [], "scope": []}),
        (
            GOOGLE | {"hub_google_domain": "example.org"},
            "Google",
            {"hosted_domain": ["example.org"], "whole_domain": True},
        ),
    ],
)
def test_other_providers_are_told_theirs(
    plan: Plan, brought: object, data: dict[str, Any], name: str, expected: dict[str, Any]
) -> None:
    run = plan(data=data)
    run.execute()
    assert traits(run)[name].items() >= expected.items()


def test_several_ways_are_one_login_page(plan: Plan, brought: object) -> None:
    run = plan(
        data=SEVERAL
        | {"hub_allow_everyone": ["oidc"], "hub_allowed_users": ["github:ada"]}
        | {"hub_admin_groups": ["oidc:staff"], "hub_names": ["hub.example.org"]}
    )
    run.execute()
    told = traits(run)
    assert told["JupyterHub"]["authenticator_class"] == "hubstead_hub.several.Several"
    assert told["Several"]["ways"] == [
        ["users-table", "hubstead_hub.authenticator.UsersTableAuthenticator"],
        ["github", "hubstead_hub.oauth.GitHub"],
        ["oidc", "hubstead_hub.oauth.OpenIDConnect"],
    ]
    paths = {path["path"] for path in told["JupyterHub"]["template_paths"]}
    assert paths == {"templates", "table_templates", "several_templates"}
    unit = run.files["/etc/systemd/system/jupyterhub.service"]
    for way, name in (("oidc", "OpenIDConnect"), ("github", "GitHub")):
        provider = told[name]
        assert provider["oauth_callback_url"] == f"https://hub.example.org/hub/{way}/oauth_callback"
        assert provider["client_secret"] == {"credential": f"{way}-client-secret"}
        secret = run.files[f"/etc/jupyterhub/credentials/{way}-client-secret"]
        assert secret == f"the secret of {way.upper()}"
        assert f"LoadCredential={way}-client-secret:" in unit
    assert told["OpenIDConnect"]["manage_groups"] is True and "manage_groups" not in told["GitHub"]
    assert told["CryptKeeper"]["keys"] == [{"credential": "crypt-key"}]
    # which a Hub that goes by one way does not read
    rules = json.loads(run.files["/etc/hubstead/hub-rules-of-several.json"])
    assert told["Ruled"]["rules_file"] == "/etc/hubstead/hub-rules-of-several.json"
    assert "/etc/hubstead/hub-rules.json" not in run.files
    assert rules["everyone"] is False and rules["everyone_of"] == ["oidc"]
    assert rules["allowed"] == ["github:ada"] and rules["admin_groups"] == ["oidc:staff"]
    assert [name for name in run.names if name.startswith("userdb")]
    checked = [name for name in run.names if name.startswith("verify | Ask ")]
    for one in ("the users table", "GitHub", "the provider"):
        assert f"verify | Ask {one}" in checked
    locks = [text for text in run.sent.inputs if "oauthenticator==" in text]
    assert {text.count("oauthenticator==") for text in locks} == {1}
    assert "the secret of" not in "\n".join(run.sent.commands)


def test_a_list_of_one_is_as_the_one(plan: Plan, brought: object) -> None:
    one, listed = plan(data=OIDC | ADA), plan(data=OIDC | ADA | {"hub_authenticators": ["oidc"]})
    one.execute()
    before = one.files
    listed.execute()
    assert listed.files == before


def test_the_hub_is_told_where_the_directory_is(plan: Plan, brought: object) -> None:
    run = plan(data=LDAP | GROUPS | {"hub_allowed_groups": ["lab"]})
    run.execute()
    told = traits(run)
    assert told["JupyterHub"]["authenticator_class"] == "hubstead_hub.ldap.Ldap"
    directory = told["Ldap"]
    assert directory["urls"] == LDAP["hub_ldap_url"] and directory["filter"] == ""
    assert directory["manage_groups"] is True and directory["servers_network"]
    assert directory["bind_password"] == {"credential": "ldap-bind-password"}
    assert run.files["/etc/jupyterhub/credentials/ldap-bind-password"] == "the secret of LDAP"
    assert "the secret of" not in "\n".join(run.sent.commands)
    assert any("ldap3==" in text for text in run.sent.inputs)


def test_a_directory_may_be_asked_without_an_account(plan: Plan) -> None:
    run = plan(data=LDAP | ADA | {"hub_ldap_bind_dn": None})
    run.execute()
    assert "bind_dn" not in traits(run)["Ldap"]
    unit = run.files["/etc/systemd/system/jupyterhub.service"]
    assert "ldap-bind-password" not in unit


SAID = {
    "entity_id": "https://login.example.org/idp",
    "login_url": "https://login.example.org/in",
    "logout_url": "",
    "certificates": ["MIIB"],
    "signed_requests": False,
}


def test_the_hub_is_told_what_the_metadata_says(
    plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(providers, "told", lambda *_: SAID)
    run = plan(
        data=SAML | {"hub_admin_groups": ["staff"], "hub_names": ["hub.example.org"]},
    )
    run.execute()
    told = traits(run)
    assert told["JupyterHub"]["authenticator_class"] == "hubstead_hub.saml.Saml"
    provider = told["Saml"]
    assert provider["sign_in_url"] == SAID["login_url"] and provider["certificates"] == ["MIIB"]
    assert provider["service_url"] == "https://hub.example.org/hub"
    assert provider["session_seconds"] == 12 * 3600 and provider["manage_groups"] is True
    directory = "/etc/jupyterhub/credentials"
    key, shown = (run.files[f"{directory}/saml-{name}"] for name in ("key", "certificate"))
    assert key.startswith("-----BEGIN PRIVATE KEY-----\n") and "PRIVATE" not in shown
    assert not [line for line in key.splitlines()[1:-1] if line in "\n".join(run.sent.commands)]
    assert any("pysaml2==" in text for text in run.sent.inputs)
    # made once, and always shown in the same
    again = plan(data=SAML | ADA | {"hub_names": ["hub.example.org"]})
    again.execute()
    assert again.files[f"{directory}/saml-key"] == key
    assert again.files[f"{directory}/saml-certificate"] == shown


def test_a_key_of_another_kind_is_refused(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(providers, "told", lambda *_: SAID)
    pem = sign("hub", None).key_pem.decode()
    for bad in (pem, "a-secret-word"):
        monkeypatch.setenv("HUBSTEAD_HUB_SAML_KEY", bad)
        with pytest.raises(PyinfraError, match="an RSA key in PEM") as error:
            plan(data=SAML | ADA)
        assert bad not in str(error.value)


def test_metadata_in_a_file_is_read_here(plan: Plan, tmp_path: Path) -> None:
    file = tmp_path / "idp.xml"
    with pytest.raises(PyinfraError, match=r"`hub_saml_metadata` .*no host was touched: No such"):
        plan(data=SAML | ADA | {"hub_saml_metadata": str(file)})
    file.write_text("<html/>")
    with pytest.raises(PyinfraError, match="describes 0 identity providers"):
        plan(data=SAML | ADA | {"hub_saml_metadata": str(file)})


def test_rules_are_the_hubs_to_read_and_restart_nothing(plan: Plan, brought: object) -> None:
    rules = {"hub_blocked_users": ["eve"], "hub_username_map": {"Ä@example.org": "ae"}}
    before, after = plan(data=OIDC | ADA), plan(data=OIDC | ADA | rules)
    before.execute()
    old = before.files
    after.execute()
    new = after.files
    assert {path for path in new if new[path] != old.get(path)} == {"/etc/hubstead/hub-rules.json"}
    written = json.loads(new["/etc/hubstead/hub-rules.json"])
    assert written["blocked"] == ["eve"] and written["names"] == {"ä@example.org": "ae"}
    assert written["allowed"] == ["ada"] and written["everyone"] is False


def test_services_have_a_token_and_a_role_each(plan: Plan) -> None:
    services = {"portal": ["admin:users", "servers!group=lab"], "a-board": ["list:users"]}
    run = plan(data={"hub_authenticator": "token", "hub_service_accounts": services})
    run.execute()
    told = traits(run)["JupyterHub"]
    assert told["authenticator_class"] == "hubstead_hub.token.TokenOnly"
    credential = {"credential": "service-portal"}
    assert {"name": "portal", "api_token": credential} in told["services"]
    role = {"name": "service-a-board", "scopes": ["list:users"], "services": ["a-board"]}
    assert role in told["load_roles"]
    tokens = [run.files[f"/etc/jupyterhub/credentials/service-{name}"] for name in services]
    assert len(set(tokens)) == 2 and {len(token) for token in tokens} == {64}
    assert not [token for token in tokens if token in "\n".join(run.sent.commands)]


def test_examples_of_the_documentation_are_right() -> None:
    page = (PROJECT / "docs/accounts.md").read_text()
    examples = re.findall("^```python\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    assert any("hub_authenticators" in example for example in examples)
    for example in examples:
        data: dict[str, Any] = {}
        exec(example, {}, data)
        assert check(TRUST | data) == [], example


def test_scopes_are_those_of_the_hubs_release() -> None:
    assert set(SCOPES) == set(scope_definitions)
