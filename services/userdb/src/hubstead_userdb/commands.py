"""What each subcommand of ``hub-users`` does."""

import getpass
import json
import os
import sys
from argparse import Namespace
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import psycopg

from hubstead_userdb import declare, importer, passwords, plain, schema, table
from hubstead_userdb.database import connect, explain
from hubstead_userdb.errors import RefusedError, UnavailableError
from hubstead_userdb.initial import InitialPasswords
from hubstead_userdb.names import username_problem
from hubstead_userdb.passwords import Passwords

TIMEOUT = 10


@contextmanager
def _reading(options: Namespace) -> Iterator[psycopg.Connection]:
    """A connection whose transaction commits at the end, with errors in words."""
    try:
        with connect(options.dsn_file, TIMEOUT, "hub-users") as connection:
            yield connection
    except psycopg.Error as error:
        raise UnavailableError(explain(error)) from error


@contextmanager
def _writing(options: Namespace) -> Iterator[psycopg.Connection]:
    """As ``_reading``, alone among all hub-users that write."""
    with _reading(options) as connection:
        schema.lock_for_writing(connection)
        yield connection


def _rules(options: Namespace) -> Passwords:
    return Passwords(options.bcrypt_cost, options.min_length)


def _initial(options: Namespace) -> InitialPasswords:
    return InitialPasswords(options.initial_passwords)


def _new_password(options: Namespace, username: str) -> str:
    """The password to set, from where the options say, checked against the rules."""
    if options.generate:
        return passwords.generate()
    if options.password_stdin:
        password = sys.stdin.readline().rstrip("\r\n")
    elif sys.stdin.isatty():
        password = getpass.getpass(f"New password for {username}: ")
        if getpass.getpass("The same again: ") != password:
            raise RefusedError("the two passwords differ")
    else:
        raise RefusedError("no terminal to ask for a password: give --password-stdin or --generate")
    problem = _rules(options).problem(password, username)
    if problem:
        raise RefusedError(problem)
    return password


def _settle(initial: InitialPasswords, username: str) -> None:
    """Keep a generated password that is in force by now, and say where."""
    initial.settle(username)
    print(f"To read the one-time password: sudo hub-users initial-password {username}")


def add(options: Namespace) -> None:
    """Add one user."""
    name = options.name
    problem = username_problem(name)
    if problem:
        raise RefusedError(problem)
    with _reading(options) as connection:
        if table.find(connection, name):
            raise RefusedError(f"user {name!r} exists already")
    password = _new_password(options, name)
    initial = _initial(options)
    user = table.NewUser(
        name,
        _rules(options).hash(password),
        admin=options.admin,
        must_change_password=options.generate or options.must_change,
    )
    with _writing(options) as connection:
        table.add(connection, user)
        if options.generate:
            initial.propose(name, password)
    print(f"Added {name}.")
    if options.generate:
        _settle(initial, name)


def passwd(options: Namespace) -> None:
    """Set one user's password."""
    name = options.name
    with _reading(options) as connection:
        table.get(connection, name)
    password = _new_password(options, name)
    password_hash = _rules(options).hash(password)
    initial = _initial(options)
    with _writing(options) as connection:
        table.get(connection, name)
        table.set_password(
            connection, name, password_hash, must_change=options.generate or options.must_change
        )
        if options.generate:
            initial.propose(name, password)
    print(f"Changed the password of {name}.")
    if options.generate:
        _settle(initial, name)
    else:
        initial.forget(name)


def list_users(options: Namespace) -> None:
    """Print all users."""
    with _reading(options) as connection:
        users = table.everyone(connection)
    rows = [
        {
            "username": user.username,
            "admin": user.admin,
            "enabled": user.enabled,
            "must_change_password": user.must_change_password,
            "declared": user.declared,
            "created_at": user.created_at.isoformat(),
            "updated_at": user.updated_at.isoformat(),
        }
        for user in users
    ]
    if options.json:
        print(json.dumps(rows, indent=2))
        return
    width = max([len(user.username) for user in users], default=8)
    for user in users:
        notes = [
            "admin" if user.admin else "",
            "" if user.enabled else "disabled",
            "must change password" if user.must_change_password else "",
            "declared" if user.declared else "",
        ]
        print(f"{user.username:{width}}  {', '.join(filter(None, notes))}".rstrip())


def disable(options: Namespace) -> None:
    """Keep a user from logging in."""
    with _writing(options) as connection:
        table.get(connection, options.name)
        if not options.force:
            table.require_another_admin(connection, options.name)
        table.set_enabled(connection, options.name, False)
    print(f"Disabled {options.name}.")


def enable(options: Namespace) -> None:
    """Let a user log in again."""
    with _writing(options) as connection:
        table.get(connection, options.name)
        table.set_enabled(connection, options.name, True)
    print(f"Enabled {options.name}.")


def admin(options: Namespace) -> None:
    """Make a user an admin, or take that back."""
    with _writing(options) as connection:
        table.get(connection, options.name)
        if options.revoke and not options.force:
            table.require_another_admin(connection, options.name)
        table.set_admin(connection, options.name, not options.revoke)
    print(f"{options.name} is {'no longer an' if options.revoke else 'an'} admin.")


def remove(options: Namespace) -> None:
    """Delete a user's row."""
    name = options.name
    with _reading(options) as connection:
        table.get(connection, name)
    if not options.yes:
        if not sys.stdin.isatty():
            raise RefusedError("no terminal to ask whether you are sure: give --yes")
        answer = input(f"Remove {name} from the users table? Notebooks stay. [y/N] ")
        if answer.strip().lower() not in {"y", "yes"}:
            raise RefusedError("nothing was removed")
    with _writing(options) as connection:
        table.get(connection, name)
        if not options.force:
            table.require_another_admin(connection, name)
        table.remove(connection, name)
    _initial(options).forget(name)
    print(f"Removed {name}.")


def import_users(options: Namespace) -> None:
    """Add all users of a CSV file or of a table with plain passwords, or none."""
    if options.plain_table and options.check:
        raise RefusedError("--check is for a CSV file")
    if options.plain_table:
        _import_plain_table(options)
    else:
        _import_csv(options)


def _import_plain_table(options: Namespace) -> None:
    with _writing(options) as connection:
        names = plain.take_over(connection, _rules(options), options.must_change)
        must_change = [
            user.username for user in table.everyone(connection) if user.must_change_password
        ]
    print(f"Took over {len(names)} users; their plain passwords are deleted.")
    if must_change:
        print(f"Must change their password at the next login: {', '.join(must_change)}")


def _import_csv(options: Namespace) -> None:
    rules = _rules(options)
    initial = _initial(options)
    with _reading(options) as connection:
        existing = {user.username for user in table.everyone(connection)}
    lines = importer.read(options.file, set() if options.skip_existing else existing, rules)
    if options.skip_existing:
        lines = [line for line in lines if line.username not in existing]
    if options.check:
        _say_what_would_be(lines)
        return
    generated = {
        line.username: passwords.generate()
        for line in lines
        if not line.password and not line.password_hash
    }

    def to_row(line: importer.Line) -> table.NewUser:
        password = line.password or generated.get(line.username)
        return table.NewUser(
            line.username,
            rules.hash(password) if password else line.password_hash,
            admin=line.admin,
            enabled=line.enabled,
            must_change_password=line.username in generated or options.must_change,
        )

    # bcrypt lets other threads run: a class of 200 takes half a minute on two processors.
    with ThreadPoolExecutor(os.cpu_count()) as executor:
        rows = list(executor.map(to_row, lines))
    with _writing(options) as connection:
        for row in rows:
            table.add(connection, row)
        for name, password in generated.items():
            initial.propose(name, password)
    for name in generated:
        initial.settle(name)
    print(f"Imported {len(rows)} users.")
    if generated:
        print(
            f"{len(generated)} have a one-time password: sudo hub-users initial-password lists them"
        )


def _say_what_would_be(lines: list[importer.Line]) -> None:
    for line in lines:
        notes = [
            "admin" if line.admin else "",
            "" if line.enabled else "disabled",
            "" if line.password or line.password_hash else "gets a one-time password",
        ]
        print(f"line {line.number}: {line.username}  {', '.join(filter(None, notes))}".rstrip())
    print(f"{len(lines)} users would be added. Nobody was.")


def initial_password(options: Namespace) -> None:
    """Show a generated password that is still in force, or who has one."""
    initial = _initial(options)
    with _reading(options) as connection:
        users = {user.username: user for user in table.everyone(connection)}
    try:
        if options.csv is not None:
            _write_initial(options, users, initial)
        elif options.name is None:
            _list_initial(users, initial)
        else:
            _show_initial(options, users.get(options.name), initial)
    except PermissionError:
        raise UnavailableError(f"cannot read {initial.directory}: run with sudo") from None


def _list_initial(users: dict[str, table.User], initial: InitialPasswords) -> None:
    for name in initial.names():
        user = users.get(name)
        if user is not None and user.must_change_password:
            print(name)
        else:
            initial.forget(name)


def _write_initial(
    options: Namespace, users: dict[str, table.User], initial: InitialPasswords
) -> None:
    rules = _rules(options)

    def in_force(name: str) -> str | None:
        candidates, user = initial.candidates(name), users[name]
        return next((one for one in candidates if rules.matches(one, user.password_hash)), None)

    names = [name for name in initial.names() if name in users]
    names = [name for name in names if users[name].must_change_password]
    # bcrypt lets other threads run
    with ThreadPoolExecutor(os.cpu_count()) as executor:
        found = list(zip(names, executor.map(in_force, names), strict=True))
    lines = [f"{name},{password}\n" for name, password in found if password]
    text = "".join(["username,password\n", *lines])
    if options.csv == "-":
        sys.stdout.write(text)
        return
    try:
        descriptor = os.open(options.csv, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise RefusedError(f"{options.csv} is there already: name a new file") from None
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(text)
    print(f"{options.csv} has {len(lines)} one-time passwords: delete it once they are handed out.")


def _show_initial(options: Namespace, user: table.User | None, initial: InitialPasswords) -> None:
    name = options.name
    if user is None:
        raise RefusedError(f"there is no user {name!r}")
    if not user.must_change_password:
        if initial.forget(name):
            print(f"{name} has changed the initial password; deleted it here.", file=sys.stderr)
            return
        raise RefusedError(
            f"no initial password is kept for {name!r}: it was changed, or never made"
        )
    rules = _rules(options)
    for candidate in initial.candidates(name):
        if rules.matches(candidate, user.password_hash):
            print(candidate)
            return
    raise RefusedError(
        f"no initial password is kept for {name!r}: make one with "
        f"'sudo hub-users passwd {name} --generate'"
    )


def declare_users(options: Namespace) -> None:
    """Bring the table to what the settings declare."""
    text = sys.stdin.read() if options.json == "-" else options.json
    declared = declare.parse(text)
    rules = _rules(options)
    initial = _initial(options)
    made: list[declare.FirstPassword] = []

    def make(_: object = None) -> declare.FirstPassword:
        password = passwords.generate()
        return password, rules.hash(password)

    def first() -> declare.FirstPassword:
        return made.pop() if made else make()

    if options.check:
        try:
            with _reading(options) as connection:
                existing = table.everyone(connection) if schema.version(connection) else []
        except UnavailableError as error:
            print(json.dumps({"unavailable": str(error)}))
            return
        changes = declare.plan(declared, existing, first, initial)
    else:
        with _reading(options) as connection:
            existing = table.everyone(connection)
        new = {user.username for user in declared} - {user.username for user in existing}
        # A university takes minutes: on all processors, and before anybody else has to wait.
        with ThreadPoolExecutor(os.cpu_count()) as executor:
            made += executor.map(make, new)
        with _writing(options) as connection:
            changes = declare.plan(declared, table.everyone(connection), first, initial)
            for change in changes:
                change.apply(connection)
        for change in changes:
            if change.created:
                initial.settle(change.created)
    print(json.dumps({"changes": [change.text for change in changes]}))


def migrate(options: Namespace) -> None:
    """Create or update the table and the reader's rights."""
    if options.check:
        try:
            with _reading(options) as connection:
                changes = schema.missing(connection)
        except UnavailableError as error:
            print(json.dumps({"unavailable": str(error)}))
            return
    else:
        with _reading(options) as connection:
            changes = schema.migrate(connection)
    print(json.dumps({"changes": changes}))


def status(options: Namespace) -> None:
    """Print the schema's version and how many users there are."""
    with _reading(options) as connection:
        version = schema.version(connection)
        users = table.everyone(connection) if version else []
    numbers = {
        "schema_version": version,
        "schema_wanted": schema.VERSION,
        "users": len(users),
        "enabled": sum(user.enabled for user in users),
        "admins": sum(user.admin and user.enabled for user in users),
        "must_change_password": sum(user.must_change_password for user in users),
        "declared": sum(user.declared for user in users),
    }
    if options.json:
        print(json.dumps(numbers))
        return
    for name, number in numbers.items():
        print(f"{name.replace('_', ' ')}: {'none' if number is None else number}")


def path(text: str) -> Path:
    """A path from the command line or the environment."""
    return Path(text).expanduser()
