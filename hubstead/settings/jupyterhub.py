"""Settings of the Hub and the users' servers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

from pydantic import Field, field_validator

from hubstead.settings.application import ApplicationSettings
from hubstead.settings.model import (
    AUTHENTICATORS,
    KERNELS,
    SPAWNERS,
    Others,
    Settings,
    check_distinct,
)
from hubstead.texts import in_bytes, is_path

#: Below / (hier(7)); services see nothing of /home and /root (systemd.exec(5), ProtectHome=)
SYSTEMS = {
    "bin", "boot", "dev", "etc", "home", "lib", "lib32", "lib64", "libx32", "lost+found", "proc",
    "root", "run", "sbin", "sys", "tmp", "usr",
}  # fmt: skip
#: Seconds: the least for which a server runs, and at the most from one look to the next
SHORTEST, INTERVAL = 10, 300
#: Ways to log in by a name and a password in the Hub's own form; a login page has one form
FORMS = ("ldap", "pam", "users-table")


def own_directory(value: str) -> str:
    """The path of a directory for files of people. Raises ValueError for one that cannot be."""
    top, _, below = value.lstrip("/").partition("/")
    if not is_path(f"{value}/") or not below:
        raise ValueError(
            "not the path of a directory below another, of letters, digits and - . _ ~, such "
            'as "/srv/hubstead/files"'
        )
    if top in SYSTEMS:
        raise ValueError(
            f"/{top} is the system's, or hidden from services: take a directory below /srv, "
            "/mnt or one of your own; another disk can be mounted there"
        )
    return value


class HubSettings(Settings):
    """The Hub and the users' servers."""

    prefixes = ("hub_",)
    everywhere = ("hub_base_url",)

    hub_authenticator: Annotated[str, AUTHENTICATORS] = Field(
        "users-table",
        description="How people log in (docs/accounts.md); users-table: `hub_users` and "
        "`hub-users`.",
    )
    hub_authenticators: list[Annotated[str, AUTHENTICATORS]] = Field(
        [],
        description="In the place of `hub_authenticator` several ways at once, in the order of the "
        'login page: ["users-table", "oidc"] (docs/accounts.md, Several at once).',
    )
    hub_spawner: Annotated[str, SPAWNERS] = Field(
        "docker",
        description="How their servers run; docker: a container a user; systemd: "
        "a unit of the host a user (docs/servers.md).",
    )
    hub_kernels: list[Annotated[str, KERNELS]] = Field(
        ["python"],
        description="Languages that servers run cells in, beside Python, which is always there. "
        "They are built in this order: one that is added at the end leaves those before it as they "
        "are (docs/kernels.md).",
    )
    hub_base_url: str = Field(
        "/", description="Path below which the service lives, such as /jupyter/."
    )
    hub_memory_limit: str = Field(
        "2G",
        pattern=r"^[1-9]\d*[MGT]$",
        description="Memory of a user's server; a kernel that needs more is killed.",
    )
    hub_servers_memory: str | None = Field(
        None,
        pattern=r"^[1-9]\d*[MGT]$",
        description="Memory of all users' servers together; where they need more, what needs most "
        "of them is killed. By default what the host has, less a quarter, but at least 1 and at "
        "most 4 GiB, for the Hub, the proxy, the database and the system.",
    )
    hub_tmp_limit: str | None = Field(
        None,
        pattern=r"^[1-9]\d*[MGT]$",
        description="What /tmp of a user's server holds; it counts as memory of the server, and is "
        "gone with it. By default half of `hub_memory_limit`.",
    )
    hub_files: str = Field(
        "/srv/hubstead/files",
        description="Where people's files are, a directory each: on a disk of yours, say "
        "(docs/servers.md).",
    )
    hub_disk_quota: str | None = Field(
        None,
        pattern=r"^[1-9]\d*[MGT]$",
        description="What each person's files may take of the disk, such as 10G; by default what "
        "there is. The file system of `hub_files` must keep quotas by user: ext4 or XFS "
        "(docs/servers.md, Quotas).",
    )
    hub_file_quota: int | None = Field(
        None,
        ge=1000,
        description="Files and directories that each person may have, where `hub_disk_quota` is "
        "set. By default one for each 16 KiB of that: 655360 for 10G.",
    )
    hub_shared_files: dict[str, str] = Field(
        {},
        description="Directories of the host that everybody's server has, and nobody's can change: "
        'path there to path in servers, such as {"/srv/course": "/course"}.',
    )
    hub_user_config: bool = Field(
        True,
        description="Whether a server reads what its owner's files say of Jupyter: ~/.jupyter, and "
        "kernels of their own in ~/.local. With False, whoever made a mistake there gets a server "
        "again. What they set in JupyterLab counts in any case.",
    )
    hub_cpu_limit: float = Field(
        2.0, gt=0, allow_inf_nan=False, description="Processor cores of a user's server."
    )
    hub_process_limit: int = Field(
        512, ge=64, description="Processes and threads of a user's server."
    )
    hub_idle_timeout: int = Field(
        3600,
        ge=0,
        description="Seconds after which an idle server is stopped, 10 or more; 0: never. The "
        "files stay.",
    )
    hub_busy_max: int = Field(
        86400,
        ge=0,
        description="Seconds for which a kernel that computes, or a terminal's process that runs, "
        "keeps a server from being idle without printing anything.",
    )
    hub_max_age: int = Field(
        0,
        ge=0,
        description="Seconds after which any server is stopped, idle or not, 10 or more; 0: never.",
    )
    hub_cull_users: bool = Field(
        False,
        description="Whether people go as servers do, with their files: who has no server and was "
        "idle for `hub_idle_timeout`, or is older than `hub_max_age`. For `hub_authenticator` = "
        '"token", where a program makes people for a while; admins stay (docs/embedding.md).',
    )
    hub_token_days: int = Field(
        365,
        ge=0,
        description="Days after which an API token that somebody makes has ended; one from before "
        "that never ended gets as many. 0: they may make some that never end.",
    )
    hub_api_port: int = Field(
        8081, ge=1024, le=65535, description="Port of the Hub on the users' network."
    )
    hub_concurrent_spawns: int | None = Field(
        None,
        ge=1,
        description="Servers that may be starting at the same time; others wait in line. By "
        "default two a processor core of the host: of 20 at once on two cores most gave up.",
    )
    hub_server_limit: int | None = Field(
        None,
        ge=1,
        description="Servers that may run at the same time; who comes then waits for a place. By "
        "default there is no limit but `hub_servers_memory`.",
    )
    hub_debug: bool = Field(False, description="Debug lines in the log.")

    @field_validator("hub_kernels")
    @classmethod
    def _once(cls, value: list[str]) -> list[str]:
        check_distinct(value)
        return value

    @field_validator("hub_base_url")
    @classmethod
    def _slashes(cls, value: str) -> str:
        if not value.startswith("/") or not value.endswith("/"):
            raise ValueError('must begin and end with a slash, such as "/jupyter/"')
        if not is_path(value):
            raise ValueError(
                "between its slashes are letters, digits and - . _ ~ alone, and no part that is "
                'empty, "." or ".."'
            )
        return value

    @field_validator("hub_idle_timeout", "hub_max_age")
    @classmethod
    def _longer_than_a_start(cls, value: int) -> int:
        if 0 < value < SHORTEST:
            raise ValueError(
                f"a server is not even up by then: at least {SHORTEST} seconds, or 0 for never"
            )
        return value

    @field_validator("hub_files")
    @classmethod
    def _own_directory(cls, value: str) -> str:
        return own_directory(value)

    @field_validator("hub_shared_files")
    @classmethod
    def _paths(cls, value: dict[str, str]) -> dict[str, str]:
        for path in (*value, *value.values()):
            top = path.lstrip("/").partition("/")[0]
            if not top or not is_path(f"{path}/"):
                raise ValueError(
                    f"{path!r} is no path of letters, digits and - . _ ~, such as /srv/course"
                )
            if top in SYSTEMS:
                raise ValueError(f"{path!r}: /{top} is the system's, there and in servers")
        if len(set(value.values())) < len(value):
            raise ValueError("two directories have one place in servers")
        return value

    @field_validator("hub_authenticators")
    @classmethod
    def _beside_each_other(cls, value: list[str]) -> list[str]:
        check_distinct(value)
        forms = [name for name in value if name in FORMS]
        if len(forms) > 1:
            raise ValueError(
                f"{' and '.join(map(repr, forms))} would both have the one form of the login page, "
                "and nobody could say whose password is asked for: keep one of them"
            )
        if "token" in value and len(value) > 1:
            raise ValueError(
                "'token' is no login at all, and needs none beside it: a service of "
                "`hub_service_accounts` makes people and tokens with every way to log in"
            )
        return value

    def check(self) -> None:
        alone = "hub_authenticator" in self.model_fields_set
        if alone and self.hub_authenticators and self.ways != (self.hub_authenticator,):
            raise ValueError(
                f"`hub_authenticator` = {self.hub_authenticator!r} and `hub_authenticators` = "
                f"{self.hub_authenticators!r} say different things: remove one of them"
            )
        if self.hub_file_quota and not self.hub_disk_quota:
            raise ValueError(
                f"`hub_file_quota` = {self.hub_file_quota} is for who has a `hub_disk_quota`, too: "
                'set that, such as "10G"'
            )
        for path in self.hub_shared_files:
            if f"{self.hub_files}/".startswith(f"{path}/"):
                raise ValueError(
                    f"`hub_shared_files`: {path} has everybody's files in it (`hub_files`)"
                )
        if self.hub_cull_users and self.ways != ("token",):
            raise ValueError(
                "`hub_cull_users` would take the files of people who come again: it is for "
                "`hub_authenticator` = 'token', where a program makes people for a while"
            )
        if self.hub_cull_users and not (self.hub_idle_timeout or self.hub_max_age):
            raise ValueError("`hub_cull_users` needs an `hub_idle_timeout` or `hub_max_age`")
        together = self.hub_servers_memory
        if together and in_bytes(together) < in_bytes(self.hub_memory_limit):
            raise ValueError(
                f"`hub_servers_memory` = {together!r} is less than one server may have: "
                f"`hub_memory_limit` = {self.hub_memory_limit!r}"
            )

        if self.hub_spawner != "docker" and set(self.hub_kernels) - {"python"}:
            raise ValueError(
                f"`hub_kernels` = {self.hub_kernels!r} are of the image that servers of "
                f"`hub_spawner` = 'docker' have; with {self.hub_spawner!r} there is 'python' alone"
            )

    @property
    def ways(self) -> tuple[str, ...]:
        """How people log in, in the order of the login page; mostly one way."""
        return tuple(self.hub_authenticators) or (self.hub_authenticator,)

    @property
    def several_ways(self) -> bool:
        """Whether each entry of a rule has to say of whose people it is (docs/accounts.md)."""
        return len(self.ways) > 1

    def choice(self, way: str) -> str:
        """A way of `ways` in words, for errors."""
        if self.hub_authenticators:
            return f"{way!r} of `hub_authenticators`"
        return f"`hub_authenticator` = {way!r}"

    def entries_of(self, way: str, entries: Iterable[str]) -> list[str]:
        """Those entries of a rule that are for people of a way, as it calls them itself."""
        if not self.several_ways:
            return list(entries)
        sign = f"{way}:"
        return [entry.removeprefix(sign) for entry in entries if entry.startswith(sign)]

    @property
    def files_limits(self) -> tuple[int, int] | None:
        """Bytes and files that each person may have; None for what the disk has."""
        if not self.hub_disk_quota:
            return None
        size = in_bytes(self.hub_disk_quota)
        # as many as ext4 has for it (mke2fs.conf(5), inode_ratio)
        return size, self.hub_file_quota or max(size >> 14, 1000)

    @property
    def tmp_limit(self) -> int:
        """Bytes that /tmp of a server holds."""
        if self.hub_tmp_limit:
            return in_bytes(self.hub_tmp_limit)
        return in_bytes(self.hub_memory_limit) // 2

    def servers_memory(self, memory: int) -> int:
        """Bytes of all servers together.

        + memory: of the host, in MiB.
        """
        if self.hub_servers_memory:
            return in_bytes(self.hub_servers_memory)
        # in steps, so that another kernel is no other limit
        return (memory - min(max(memory // 4, 1024), 4096)) // 64 * 64 << 20

    def check_beside(self, others: Others) -> None:
        if others[ApplicationSettings].application != "jupyterhub" and self.hub_base_url != "/":
            raise ValueError(
                f"`hub_base_url` = {self.hub_base_url!r} is for `application` = 'jupyterhub': the "
                "shared JupyterLab is at /; remove it"
            )


def interval(*limits: int) -> int:
    """Seconds from one look at servers, or one report of theirs, to the next.

    + limits: seconds after which servers are stopped for something; 0 for never.
    """
    shortest = min((limit for limit in limits if limit), default=INTERVAL * 8)
    # an eighth, so that reports and looks add at most half of the limit to it
    return min(max(shortest // 8, SHORTEST // 2), INTERVAL)
