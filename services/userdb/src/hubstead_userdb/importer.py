"""Users from a CSV file: all lines are read and checked before the first one counts."""

import csv
import io
from dataclasses import dataclass, field
from pathlib import Path

from hubstead_userdb.errors import RefusedError
from hubstead_userdb.names import username_problem
from hubstead_userdb.passwords import Passwords, is_hash

COLUMNS = ("username", "password", "password_hash", "admin", "enabled")

_WORDS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


@dataclass(frozen=True)
class Line:
    """One user of the file. With neither password nor hash, the user gets a generated password."""

    number: int
    username: str
    password: str = field(repr=False)
    password_hash: str = field(repr=False)
    admin: bool
    enabled: bool


class BadLinesError(RefusedError):
    """Some lines cannot be imported, so none is; ``reasons`` has one text a line."""

    def __init__(self, summary: str, reasons: list[str]) -> None:
        super().__init__(summary)
        self.reasons = reasons


def read(path: Path, existing: set[str], rules: Passwords) -> list[Line]:
    """The file's users.

    A semicolon separates columns as well as a comma, as some spreadsheets write it.

    :param existing: usernames that are taken.
    :raises RefusedError: if the file cannot be read or its header is wrong.
    :raises BadLinesError: with every line that cannot be imported.
    """
    text = _text(path)
    first = text.partition("\n")[0]
    delimiter = ";" if ";" in first and "," not in first else ","
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    lines: list[Line] = []
    reasons: list[str] = []
    taken = {name: "exists already" for name in existing}
    header: list[str] | None = None
    number = 0
    try:
        for row in reader:
            start, number = number + 1, reader.line_num
            if not any(cell.strip() for cell in row):
                continue
            if header is None:
                header = _header(path, row)
                continue
            line, problem = _line(start, header, row, rules)
            if problem is None and line.username in taken:
                problem = f"user {line.username!r} {taken[line.username]}"
            taken.setdefault(line.username, f"is on line {start} already")
            if problem is None:
                lines.append(line)
            else:
                reasons.append(f"line {start}: {problem}")
    except csv.Error as error:
        reasons.append(f"line {number + 1}: not CSV: {error}")
    if reasons:
        raise BadLinesError(f"{path}: {len(reasons)} bad lines, nothing was imported", reasons)
    if header is None:
        raise RefusedError(
            f"{path} is empty: the first line names the columns, at least 'username'"
        )
    return lines


def _text(path: Path) -> str:
    try:
        # utf-8-sig: spreadsheets put a byte order mark before the first column's name.
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError:
        raise RefusedError(f"{path} is not UTF-8 text") from None
    except OSError as error:
        raise RefusedError(f"cannot read {path}: {error.strerror}") from None


def _header(path: Path, row: list[str]) -> list[str]:
    header = [cell.strip().lower() for cell in row]
    allowed = ", ".join(COLUMNS)
    # Errors quote no cell: in a file without a header, or with shifted columns, it is a password.
    for number, name in enumerate(header, start=1):
        if name not in COLUMNS:
            raise RefusedError(f"{path}: column {number} of the first line is none of: {allowed}")
        if header.count(name) > 1:
            raise RefusedError(f"{path}: column {name!r} is there twice")
    if "username" not in header:
        raise RefusedError(f"{path}: the first line names no column 'username'; columns: {allowed}")
    return header


def _line(
    number: int, header: list[str], row: list[str], rules: Passwords
) -> tuple[Line, str | None]:
    cells = dict(zip(header, row, strict=False))
    admin = _flag(cells, "admin", False)
    enabled = _flag(cells, "enabled", True)
    line = Line(
        number,
        cells.get("username", "").strip(),
        # Not stripped: a password may begin or end with a space.
        cells.get("password", ""),
        cells.get("password_hash", "").strip(),
        admin is True,
        enabled is True,
    )
    problem = None
    if len(row) != len(header):
        problem = f"{len(row)} columns, but the first line has {len(header)}"
    elif name_problem := username_problem(line.username):
        problem = name_problem
    elif admin is None:
        problem = "admin is neither true nor false"
    elif enabled is None:
        problem = "enabled is neither true nor false"
    elif line.password and line.password_hash:
        problem = "both a password and a password_hash"
    elif line.password_hash and not is_hash(line.password_hash):
        problem = "password_hash is not a bcrypt hash ($2a$, $2b$ or $2y$, cost 4 to 15)"
    elif line.password:
        problem = rules.problem(line.password, line.username)
    return line, problem


def _flag(cells: dict[str, str], column: str, default: bool) -> bool | None:
    word = cells.get(column, "").strip().lower()
    return default if not word else _WORDS.get(word)
