"""Debian's Apache, which may have sites of others: modules, ports, and the package's own settings.

What we change of theirs is noted down below NOTES, and can be put back.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass, field

from pyinfra.api import FactBase, FactProcessError, QuoteString, StringCommand, operation
from pyinfra.context import host

from hubstead.distributions import DEBIAN_APACHE
from hubstead.operations import files

APACHE = DEBIAN_APACHE.directory
NOTES = "/var/lib/hubstead/apache"
PORTS = f"{APACHE}/ports.conf"
#: What Debian's ports.conf listens on, with mod_ssl
DEFAULT_PORTS = frozenset({80, 443})


@dataclass(frozen=True)
class ApacheState:
    """The configuration that is in force.

    `pristine` are the configuration files that are as the package brought them. `ports_conf` and
    `others` are the ports of Listen in ports.conf, and in all files that are not ours. `replaced`:
    ports.conf is ours, and the package's is kept. `modules` are enabled; `modules_before` were when
    we first came, None where we never did.
    """

    pristine: frozenset[str] = frozenset()
    ports_conf: frozenset[int] = frozenset()
    others: frozenset[int] = frozenset()
    replaced: bool = False
    modules: frozenset[str] = frozenset()
    modules_before: frozenset[str] | None = field(default=None)


def parse_apache(lines: Iterable[str]) -> ApacheState:
    """The state from the lines that the command of `Apache` prints."""
    found: dict[str, set[str]] = {}
    for line in lines:
        tag, _, value = line.partition(" ")
        found.setdefault(tag, set()).add(value)

    def ports(tag: str) -> frozenset[int]:
        return frozenset(int(value) for value in found.get(tag, ()))

    before = found.get("before")
    return ApacheState(
        frozenset(found.get("pristine", ())),
        ports("port"),
        ports("other"),
        "replaced" in found,
        frozenset(found.get("module", ())),
        None if before is None else frozenset(before - {""}),
    )


# Ours are the files named *hubstead*.
_LOOK = f"""
cd {APACHE} 2>/dev/null || exit 0
dpkg-query -W -f '${{Conffiles}}\\n' apache2 2>/dev/null | while read -r file sum rest; do
    case $file in
        */ports.conf | */mpm_event.conf | */security.conf)
            [ "$(md5sum <"$file")" != "$sum  -" ] || echo "pristine $file" ;;
    esac
done
listens() {{
    grep -iE '^\\s*listen\\s' | sed -E "s/^\\s*\\w+\\s+(\\S*:)?([0-9]+).*/$1 \\2/"
}}
[ ! -e ports.conf ] || listens port <ports.conf
find apache2.conf conf-enabled sites-enabled mods-enabled -name '*.conf' ! -name '*hubstead*' \\
    -exec cat {{}} + | listens other
[ ! -e {NOTES}/ports.conf ] || echo replaced
find mods-enabled -name '*.load' -printf 'module %f\\n' | sed 's/\\.load$//'
if [ -e {NOTES}/modules ]; then echo 'before '; sed 's/^/before /' {NOTES}/modules; fi
"""


class Apache(FactBase[ApacheState]):
    """What is configured. Rule: dpkg-query(1), Conffiles; mpm_common, Listen."""

    @staticmethod
    def default() -> ApacheState:
        return ApacheState()

    def command(self) -> StringCommand:
        return StringCommand("sh -c", QuoteString(_LOOK))

    def process(self, output: list[str]) -> ApacheState:
        try:
            return parse_apache(output)
        except ValueError as error:
            raise FactProcessError(f"unreadable state of Apache: {error}") from error


def enabled(file: str, text: str | None) -> dict[str, files.Entry]:
    """The entries of a file of ours in conf-available, and of its link; None: of neither."""
    available, link = f"{APACHE}/conf-available/{file}", f"{APACHE}/conf-enabled/{file}"
    if text is None:
        return {link: None, available: None}
    return {available: files.File(text), link: files.Link(f"../conf-available/{file}")}


@operation()
def modules_enabled(modules: Sequence[str]) -> Generator[StringCommand]:
    """Ensure that modules are enabled, and those that they need; what was enabled before is noted.

    Rule: a2enmod(8).
    """
    state = host.get_fact(Apache)
    missing = [module for module in modules if module not in state.modules]
    if missing and state.modules_before is None:
        yield StringCommand(
            f"mkdir -p {NOTES} && (cd {APACHE}/mods-enabled && ls | sed -n 's/\\.load$//p')"
            f" >{NOTES}/modules.new && mv {NOTES}/modules.new {NOTES}/modules"
        )
    if missing:
        yield StringCommand("a2enmod --quiet", *[QuoteString(module) for module in missing])


# A module that a site of the owner's needs by now stays: the test of the configuration tells.
_DISABLE = """
for module in "$@"; do
    a2dismod --quiet --force "$module" >/dev/null && apachectl configtest 2>/dev/null ||
        a2enmod --quiet "$module"
done
"""


@operation()
def modules_restored(modules: Sequence[str]) -> Generator[StringCommand]:
    """Ensure that those of some modules are disabled which were so before `modules_enabled`.

    + modules: with those that they need, each before what it needs.
    """
    state = host.get_fact(Apache)
    if state.modules_before is not None:
        ours = [m for m in modules if m in state.modules and m not in state.modules_before]
        yield StringCommand("sh -c", QuoteString(_DISABLE), "sh", *[QuoteString(m) for m in ours])
        yield StringCommand("rm", f"{NOTES}/modules")


@operation()
def overridden(conffile: str, file: str, text: str) -> Generator[StringCommand]:
    """Ensure that settings of the package are overridden, where nobody edited their file.

    + conffile: the package's file.
    + file: name of ours with `text`, in conf-available; it has to sort behind the package's.
    """
    pristine = conffile in host.get_fact(Apache).pristine
    yield from files.present._inner(enabled(file, text if pristine else None))


LISTEN = "zz-hubstead-ports.conf"
_HEAD = "# Written by Hubstead (edge_http_port, edge_https_port).\n"


@operation()
def listening(ports: Sequence[int]) -> Generator[StringCommand]:
    """Ensure that Apache listens on some ports.

    Debian's ports.conf gives way where it would listen on others besides; one that somebody edited
    stays. A port of which some file has a Listen is not named again, which Apache refuses.
    """
    state = host.get_fact(Apache)
    unwanted = bool(DEFAULT_PORTS - set(ports))
    in_ports_conf = state.ports_conf
    if state.replaced and not unwanted:
        yield StringCommand(f"mv {NOTES}/ports.conf {PORTS} && rm -f {files.note_on(PORTS)}")
        in_ports_conf = DEFAULT_PORTS
    elif unwanted and (state.replaced or PORTS in state.pristine):
        ours = files.File(f"{_HEAD}# See conf-enabled/{LISTEN}.\n")
        if state.replaced:
            yield from files.present._inner({PORTS: ours})
        else:
            yield StringCommand(
                f"mkdir -p {NOTES} && cp -p {PORTS} {NOTES}/ports.conf.new"
                f" && mv {NOTES}/ports.conf.new {NOTES}/ports.conf"
            )
            # nobody edited it, and it is kept already
            yield files.write(PORTS, ours, files.STATE)
        in_ports_conf = frozenset()
    missing = [port for port in ports if port not in in_ports_conf | state.others]
    text = _HEAD + "".join(f"Listen {port}\n" for port in missing)
    yield from files.present._inner(enabled(LISTEN, text if missing else None))


@operation()
def ports_restored() -> Generator[StringCommand]:
    """Ensure that Apache listens where it did before `listening`."""
    if host.get_fact(Apache).replaced:
        yield StringCommand(f"mv {NOTES}/ports.conf {PORTS} && rm -f {files.note_on(PORTS)}")
    yield from files.present._inner(enabled(LISTEN, None))
