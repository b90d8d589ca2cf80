"""JupyterHub: release, configuration, credentials, unit."""

from __future__ import annotations

from typing import Any

from pyinfra import logger
from pyinfra.api.deploy import deploy
from pyinfra.api.exceptions import PyinfraError
from pyinfra.context import host

from hubstead import database, groups, hub, parts, people, rules, secrets, wheels
from hubstead.notes import ROLES, claim
from hubstead.operations import accounts, files, hub_database, hub_settings, packages, units
from hubstead.ports import hold_ports, refuse_another, refuse_taken_ports, release_ports
from hubstead.programs import program
from hubstead.progress import summarise
from hubstead.releases import release
from hubstead.render import render
from hubstead.settings.apart import ApartSettings
from hubstead.settings.embedding import EmbeddingSettings
from hubstead.settings.groups import GroupsSettings
from hubstead.settings.jupyterhub import HubSettings, interval
from hubstead.settings.services import ServicesSettings, secret_of
from hubstead.site import Site

_DIRECTORY, _STATE = "/etc/jupyterhub", "/var/lib/jupyterhub"
_CONFIGURATION = f"{_DIRECTORY}/jupyterhub_config.py"
_UNIT = "/etc/systemd/system/jupyterhub.service"
_PYTHON = "/opt/hubstead/hub/current/bin/python"
_URL_FILE = f"{hub.CREDENTIALS}/database-url"


def _itself(site: Site) -> hub.Configuration:
    settings = site[HubSettings]
    return hub.Configuration(
        traits={
            "JupyterHub": {
                "db_url": hub.credential("database-url"),
                "db_kwargs": {"pool_pre_ping": True},
                "cookie_secret_file": hub.credential_file("cookie-secret"),
                "base_url": settings.hub_base_url,
                "public_url": site.url + settings.hub_base_url,
                "hub_bind_url": parts.hub_url(site),
                "hub_connect_url": parts.hub_url(site),
                # the edge, as the proxy names it in X-Forwarded-For: the visitor is who comes
                # before it
                "trusted_downstream_ips": [net.split("/")[0] for net in site.edge_networks],
                "token_expires_in_max_seconds": settings.hub_token_days * 86400,
                "concurrent_spawn_limit": settings.hub_concurrent_spawns or 2 * site.machine.cores,
                # a code that somebody else's page caught is worth nothing (RFC 9700, 2.1.1)
                "oauth_require_pkce": True,
                # None: what the memory of all servers holds
                "active_server_limit": settings.hub_server_limit or 0,
                # and consecutive_failure_limit stays 0: one whose server does not start would
                # restart everybody's Hub
                "log_level": "DEBUG" if settings.hub_debug else "INFO",
                # running servers outlive the Hub: it finds them again when it starts
                "cleanup_servers": False,
                "cleanup_proxy": False,
                "services": [{"name": "metrics", "api_token": hub.credential("metrics")}],
                "load_roles": [
                    {"name": "metrics", "scopes": ["read:metrics"], "services": ["metrics"]}
                ],
            },
            # whoever the Hub has seen before is let in by no rule
            "Authenticator": {"allow_existing_users": False},
            "Spawner": {"disable_user_config": not settings.hub_user_config},
        },
        code=(
            "bound_bodies",
            "tell_strangers_no_version",
            "share_the_port_with_its_holder",
            "bear_that_the_database_is_away",
            "start_in_turn",
            "look_before_leading_back",
            "end_tokens_of_before",
            *(("refuse_at_once_while_the_database_is_away",) if site.db_apart else ()),
        ),
    )


def _apart(site: Site) -> hub.Configuration:
    """At which names the Hub and people's servers are (docs/apart.md)."""
    settings, come_back = site[ApartSettings], "lead_back_to_where_servers_are"
    # a logout reaches a server when that asks the Hub again, after seconds
    ask_again: dict[str, dict[str, Any]] = {"Spawner": {"args": ["--HubOAuth.cache_max_age=15"]}}
    if not site.servers_name:
        return hub.Configuration(ask_again, code=(come_back,))
    traits: dict[str, dict[str, Any]] = {
        "JupyterHub": {
            # a name each by JupyterHub's default hook, idna; to set that by its name is a TypeError
            # in JupyterHub 6.1.1, which never looks at a value that is the default's name
            "subdomain_host": site.url,
            # nothing below the Hub's name can put a login of its own in the place of the visitor's
            # (RFC 6265bis, 4.1.3.2)
            "cookie_host_prefix_enabled": True,
        },
        **ask_again,
    }
    if settings.hub_servers_name:
        traits["JupyterHub"]["subdomain_hook"] = hub.made_by(
            "hubstead_hub.apart:OneName", settings.hub_servers_name
        )
        # with the prefix a cookie is for the whole name, and each server would get everyone's
        traits["Spawner"]["args"].append("--HubOAuth.cookie_host_prefix_enabled=False")
    return hub.Configuration(traits, code=("keep_the_hub_at_its_name", come_back))


def _warn(site: Site) -> None:
    url = site.url + site[HubSettings].hub_base_url
    former = host.get_fact(hub_settings.PublicUrl, hub.SETTINGS)
    if former not in (None, url):
        logger.warning(
            f"{site.here.name}: the Hub there is at {former} by now, and a run makes that {url}. A "
            "host has one Hub: where it is another inventory's, its people's accounts, files and "
            "notebooks would go on under yours."
        )
    if site[ApartSettings].hub_people_trust_each_other:
        logger.warning(
            f"{site.here.name}: `hub_people_trust_each_other`: the Hub and all servers are at one "
            "name, so whoever opens a link to somebody's server gives away their account by that, "
            "and an admin the whole service. docs/apart.md has the other choices."
        )


def _services(site: Site) -> hub.Configuration:
    """Other programs, each with a token and a role of its own."""
    services = site[ServicesSettings].hub_service_accounts
    return hub.Configuration(
        traits={
            "JupyterHub": {
                "services": [
                    {"name": name, "api_token": hub.credential(f"service-{name}")}
                    for name in sorted(services)
                ],
                "load_roles": [
                    {"name": f"service-{name}", "scopes": scopes, "services": [name]}
                    for name, scopes in sorted(services.items())
                ],
            }
        }
    )


def _embedding(site: Site) -> hub.Configuration:
    """As a part of another application's pages, or not (docs/embedding.md)."""
    settings = site[EmbeddingSettings]
    # every front is HTTPS
    pages: dict[str, Any] = {"xsrf_cookie_kwargs": {"secure": True}}
    environment = {"JUPYTERHUB_ALLOW_TOKEN_IN_URL": "1"} if settings.hub_token_in_url else {}
    if settings.hub_frame_origins:
        origins = " ".join(settings.hub_frame_origins)
        pages = {
            "headers": {"Content-Security-Policy": f"frame-ancestors {origins}"},
            # else no cookie comes along to a frame (RFC 6265bis, 5.2); _xsrf keeps other sites'
            # forms out. JupyterHub gives servers the same
            "cookie_options": {"SameSite": "None", "Secure": True},
            "xsrf_cookie_kwargs": {"secure": True, "samesite": "None"},
            "frame_origins": settings.hub_frame_origins,
        }
        environment["JUPYTERHUB_FRAME_ORIGINS"] = origins
    return hub.Configuration(
        traits={
            "JupyterHub": {"tornado_settings": pages},
            **({"Spawner": {"environment": environment}} if environment else {}),
        },
        code=("answer_origins",) if settings.hub_frame_origins else (),
    )


def _culler(site: Site) -> hub.Configuration:
    """What stops servers that are idle, or old."""
    settings, of_groups = site[HubSettings], site[GroupsSettings].idle_timeouts
    idle = [settings.hub_idle_timeout, *of_groups]
    reports = interval(*idle)
    servers = {
        "args": [
            f"--JupyterHubSingleUser.hub_activity_interval={reports}",
            f"--Hubstead.busy_max={settings.hub_busy_max}",
        ]
    }
    traits: dict[str, dict[str, Any]] = {"Spawner": servers}
    # of a person whose group says otherwise, the Hub tells that (hubstead_hub.groups)
    timeout = settings.hub_idle_timeout or settings.hub_max_age or max(of_groups, default=0)
    if timeout:
        scopes = ["list:users", "read:users:activity", "read:servers", "delete:servers"]
        command = ["/opt/hubstead/hub/current/bin/python", "-m", "hubstead_hub.culling"]
        command += [f"--timeout={timeout}", f"--max-age={settings.hub_max_age}"]
        every = interval(*idle, settings.hub_max_age)
        command += [f"--every={every}", f"--reports={reports}"]
        if settings.hub_cull_users:
            scopes.append("delete:users")
            command.append("--users")
        traits["JupyterHub"] = {
            "services": [{"name": "idle-culler", "command": command}],
            "load_roles": [{"name": "idle-culler", "scopes": scopes, "services": ["idle-culler"]}],
        }
    return hub.Configuration(traits)


def _has_its_schema(site: Site) -> bool:
    """Whether the Hub's database is as the Hub needs it; False where it does not answer by now.

    Raises PyinfraError where it is of a JupyterHub that ours cannot follow, or cannot be dumped.
    """
    revision = host.get_fact(hub_database.Revision, _PYTHON, _URL_FILE)
    if revision and revision not in hub_database.REVISIONS:
        raise PyinfraError(
            f"{site.here.name}: the Hub's database has the schema {revision} of a newer JupyterHub,"
            " which this version of Hubstead does not know; no host was touched. Deploy the version"
            " that made it, or a newer one, or put a dump of before back (docs/hosts.md, A new"
            " schema)."
        )
    if revision and revision != hub_database.REVISIONS[0]:
        server, client = host.get_fact(hub_database.Versions, _PYTHON, _URL_FILE)
        # what the run would install
        client = max(client, site.distribution.postgres.version)
        if server > client:
            raise PyinfraError(
                f"{site.here.name}: the Hub's database gets the schema of a newer JupyterHub, after"
                f" a dump, and pg_dump {client} there makes none of the PostgreSQL {server} on"
                f" {site.db.name}; no host was touched. Upgrade the Debian of {site.here.name}, or"
                f" install a pg_dump of {server} there (postgresql-client-{server}, from"
                " https://wiki.postgresql.org/wiki/Apt), then run again."
            )
    return revision == hub_database.REVISIONS[0]


@deploy("jupyterhub")
def jupyterhub(site: Site) -> None:
    settings = site[HubSettings]
    refuse_another(site, "jupyterhub", "jupyterhub.service", _CONFIGURATION)
    refuse_taken_ports(site, "jupyterhub")
    has_its_schema = _has_its_schema(site)
    chosen = parts.chosen(site)
    needs = [unit for part in chosen for unit in part.units(site)]
    if not site.db_apart:
        needs.append(site.distribution.postgres.starter)
    credentials = {
        "database-url": database.url(site, "jupyterhub"),
        "cookie-secret": site.secrets.generated("hub_cookie_secret", secrets.HEX),
        "metrics": site.secrets.generated("hub_metrics_token", secrets.TOKEN),
    }
    for name in site[ServicesSettings].hub_service_accounts:
        credentials[f"service-{name}"] = site.secrets.generated(secret_of(name), secrets.HEX)
    for part in chosen:
        credentials |= part.credentials(site)

    _warn(site)
    claim(site, "jupyterhub")
    accounts.system_user(
        name="Create the user jupyterhub",
        user=hub.USER,
        home=_STATE,
        groups=[group for part in chosen for group in part.groups(site)],
    )
    packages.installed(
        name="Install what dumps its database", packages=site.distribution.postgres.clients
    )
    if not has_its_schema:
        hub_database.kept(
            name="Keep its files where its database gets a new schema",
            python=_PYTHON,
            url_file=_URL_FILE,
        )
    release(
        site,
        name="Build the release of JupyterHub",
        component="hub",
        parts=list(dict.fromkeys(part.lock for part in chosen if part.lock)),
        wheels=wheels.of("hub"),
    )
    files.present(
        name="Write the Hub's configuration",
        entries={
            _DIRECTORY: files.Directory(),
            f"{_DIRECTORY}/conf.d": files.Directory(),
            hub.CREDENTIALS: files.Directory(mode="700"),
            **{
                f"{hub.CREDENTIALS}/{name}": files.secret(text)
                for name, text in credentials.items()
            },
            # no input of the unit: who may log in changes while it runs
            rules.file(site): rules.written(site),
            # before what reads it: a Hub that restarts while a run is cut here still starts
            hub.SETTINGS: files.File(
                hub.settings_json(
                    [
                        _itself(site),
                        _apart(site),
                        people.configuration(site),
                        rules.configuration(site),
                        groups.configuration(site),
                        parts.login(site),
                        *(part.configuration(site) for part in chosen),
                        _culler(site),
                        _services(site),
                        _embedding(site),
                    ]
                ),
                mode="640",
                group=hub.USER,
            ),
            # after that: until it restarts a Hub keeps what it has read
            rules.former(site): None,
            _CONFIGURATION: files.File(program("jupyterhub_config.py")),
            _UNIT: files.File(
                render(
                    "jupyterhub",
                    _UNIT,
                    user=hub.USER,
                    needs=needs,
                    credentials=sorted(credentials),
                    directory=hub.CREDENTIALS,
                    health=f"{parts.hub_url(site)}{settings.hub_base_url}hub/health",
                    lifts=[line for part in chosen for line in part.lifts],
                )
            ),
        },
    )
    for group in [group for part in chosen for group in part.left(site)]:
        accounts.outside(
            name=f"Take the Hub's user out of the group {group}",
            user=hub.USER,
            group=group,
            keeper=_DIRECTORY,
        )
    if not has_its_schema:
        hub_database.carried_over(
            name="Carry its database over to a new schema", python=_PYTHON, url_file=_URL_FILE
        )
    units.running(
        name="Run JupyterHub",
        unit="jupyterhub.service",
        inputs=[_DIRECTORY, "/opt/hubstead/hub/current"],
    )
    if not has_its_schema:
        hub_database.filled(
            name="Have its tables made where the database is a new one",
            python=_PYTHON,
            url_file=_URL_FILE,
            unit="jupyterhub.service",
        )
    hold_ports(site, "jupyterhub", hub.USER)
    summarise(f"Service: {site.url}{settings.hub_base_url}")
    if site.servers_name:
        summarise(
            f"People's servers: {site.servers_name}, which needs a DNS record (docs/apart.md)"
        )


@deploy("jupyterhub")
def absent() -> None:
    """Remove the Hub; its database stays, and what its owner has in conf.d."""
    units.stopped(name="Stop JupyterHub", unit="jupyterhub.service")
    release_ports("jupyterhub")
    accounts.absent(name="Remove the user jupyterhub", user=hub.USER)
    files.present(
        name="Remove JupyterHub",
        entries={
            _UNIT: None,
            hub.CREDENTIALS: None,
            hub.SETTINGS: None,
            rules.FILE: None,
            rules.OF_SEVERAL: None,
            hub.LEFT: None,
            _CONFIGURATION: None,
            _STATE: None,
        },
    )
    files.cleared(name="Leave what is its owner's", paths=[_DIRECTORY])
    files.present(name="Note down that it is gone", entries={f"{ROLES}/jupyterhub": None})
