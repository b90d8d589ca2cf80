"""The ``hub-users`` command: who may log in, from a terminal on the host."""

import argparse
import os
import sys
from collections.abc import Callable, Sequence

from hubstead_userdb import commands
from hubstead_userdb.database import OWNER_DSN_FILE
from hubstead_userdb.errors import RefusedError, UserdbError
from hubstead_userdb.importer import COLUMNS, BadLinesError
from hubstead_userdb.initial import DIRECTORY
from hubstead_userdb.passwords import DEFAULT_COST, DEFAULT_MIN_LENGTH

Run = Callable[[argparse.Namespace], None]

_EPILOG = """\
exit codes: 0 done, 1 refused (nothing changed), 2 cannot work (wrong usage, no database, no table)
environment: HUB_USERS_DSN_FILE, HUB_USERS_INITIAL_PASSWORDS, HUB_USERS_MIN_LENGTH and
HUB_USERS_BCRYPT_COST set the defaults of the options of the same names."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one subcommand; return the exit code."""
    options = _parser().parse_args(argv)
    run: Run = options.run
    try:
        run(options)
    except BadLinesError as error:
        for reason in error.reasons:
            print(reason, file=sys.stderr)
        print(f"hub-users: {error}", file=sys.stderr)
        return error.exit_code
    except UserdbError as error:
        print(f"hub-users: {error}", file=sys.stderr)
        return error.exit_code
    except OSError as error:
        # The files of the initial passwords: no right to write, a full disk.
        print(f"hub-users: {error.filename or 'a file'}: {error.strerror}", file=sys.stderr)
        return 2
    except (KeyboardInterrupt, EOFError):
        print("hub-users: stopped", file=sys.stderr)
        return RefusedError.exit_code
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="hub-users",
        description="Manage the people who may log in. Run with sudo on a host of the deployment.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _common(parser)
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, run: Run, text: str, details: str = "") -> argparse.ArgumentParser:
        added = subparsers.add_parser(name, help=text, description=f"{text} {details}")
        added.set_defaults(run=run)
        _common(added, default=argparse.SUPPRESS)
        return added

    add = _named(command("add", commands.add, "Add a user."))
    add.add_argument("--admin", action="store_true", help="make the user an admin")
    _password_options(add)

    listing = command("list", commands.list_users, "List all users.")
    listing.add_argument("--json", action="store_true", help="print JSON")

    _password_options(_named(command("passwd", commands.passwd, "Set a user's password.")))
    _forced(_named(command("disable", commands.disable, "Keep a user from logging in.")))
    _named(command("enable", commands.enable, "Let a disabled user log in again."))

    admin = _forced(_named(command("admin", commands.admin, "Make a user an admin.")))
    admin.add_argument("--revoke", action="store_true", help="make the user no longer an admin")

    remove = _forced(
        _named(command("remove", commands.remove, "Remove a user; notebooks stay where they are."))
    )
    remove.add_argument("--yes", action="store_true", help="do not ask")

    importing = command(
        "import",
        commands.import_users,
        "Add all users of a CSV file, or none if any line is wrong.",
        f"The first line names the columns: {', '.join(COLUMNS)}; only username is required. "
        "Users without a password get a one-time password.",
    )
    source = importing.add_mutually_exclusive_group(required=True)
    source.add_argument("file", metavar="FILE.csv", type=commands.path, nargs="?")
    source.add_argument(
        "--plain-table",
        action="store_true",
        help="take over the table users (id, username, password) that is in the database already: "
        "hash its plain passwords, keep the ids",
    )
    importing.add_argument(
        "--skip-existing", action="store_true", help="leave out users that exist already"
    )
    importing.add_argument(
        "--must-change", action="store_true", help="all must change their password at first login"
    )

    importing.add_argument(
        "--check", action="store_true", help="say what would be added, and add nobody"
    )

    initial = command(
        "initial-password",
        commands.initial_password,
        "Show a user's one-time password; without a name, list who still has one.",
        "Once the user has changed the password, its file is deleted.",
    )
    whose = initial.add_mutually_exclusive_group()
    whose.add_argument("name", metavar="NAME", nargs="?")
    whose.add_argument(
        "--csv",
        metavar="FILE",
        help="write all that are still in force to a new file, which its owner alone reads; "
        "- prints them",
    )

    declaring = command(
        "declare",
        commands.declare_users,
        "Bring the table to the users that the deployment's settings declare.",
        'Prints JSON: {"changes": [...]}. Users who are no longer declared are disabled.',
    )
    declaring.add_argument(
        "--json",
        required=True,
        metavar="LIST",
        help='[{"username": "ada", "admin": true, "enabled": true}, ...]; - reads standard input',
    )
    _checked(declaring)

    _checked(
        command(
            "migrate",
            commands.migrate,
            "Create or update the users table and its access rights.",
            'Prints JSON: {"changes": [...]}.',
        )
    )

    status = command("status", commands.status, "Show the schema's version and numbers of users.")
    status.add_argument("--json", action="store_true", help="print JSON")
    return parser


def _common(parser: argparse.ArgumentParser, default: object = None) -> None:
    """Options that may stand before the subcommand or after it."""

    def option(flag: str, kind: Callable[[str], object], fallback: object, text: str) -> None:
        variable = f"HUB_USERS_{flag.removeprefix('--').replace('-', '_').upper()}"
        parser.add_argument(
            flag,
            type=kind,
            # As text, so that argparse checks the environment's value as it checks an option.
            default=default or os.environ.get(variable, str(fallback)),
            metavar=variable.removeprefix("HUB_USERS_"),
            help=f"{text} (default: {fallback})",
        )

    option("--dsn-file", commands.path, OWNER_DSN_FILE, "file with the libpq connection line")
    option("--initial-passwords", commands.path, DIRECTORY, "directory of the one-time passwords")
    option("--min-length", _number(1, 72), DEFAULT_MIN_LENGTH, "shortest password to accept")
    option("--bcrypt-cost", _number(4, 15), DEFAULT_COST, "bcrypt cost of new hashes")


def _number(low: int, high: int) -> Callable[[str], int]:
    def number(text: str) -> int:
        if not text.isdecimal() or not low <= int(text) <= high:
            raise argparse.ArgumentTypeError(f"{text!r} is not a number from {low} to {high}")
        return int(text)

    return number


def _named(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    parser.add_argument("name", metavar="NAME")
    return parser


def _forced(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    parser.add_argument("--force", action="store_true", help="even if it is the last enabled admin")
    return parser


def _checked(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--check", action="store_true", help="print the changes as JSON and make none"
    )


def _password_options(parser: argparse.ArgumentParser) -> None:
    source = parser.add_mutually_exclusive_group()
    source.add_argument(
        "--password-stdin", action="store_true", help="read the password from standard input"
    )
    source.add_argument(
        "--generate",
        action="store_true",
        help="make a one-time password, which the user must change at the first login",
    )
    parser.add_argument(
        "--must-change", action="store_true", help="the user must change it at the next login"
    )
