"""The SQLite database of a studio, and the lock of its folder."""

from __future__ import annotations

import fcntl
import sqlite3
from pathlib import Path
from typing import IO, Any, Final

_LAYOUT: Final = 1
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS pictures (sha256 TEXT PRIMARY KEY, used REAL NOT NULL, data TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS runs (
  number INTEGER PRIMARY KEY AUTOINCREMENT,
  id TEXT UNIQUE NOT NULL,
  state TEXT NOT NULL,
  sheet TEXT NOT NULL,
  data TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS runs_by_state ON runs (state, number);
CREATE TABLE IF NOT EXISTS sessions (digest TEXT PRIMARY KEY, expires REAL NOT NULL);
"""


class FolderInUse(Exception):  # noqa: N818 - the name is the cause
    """Another studio uses the folder, or another version of it wrote the database."""


class Database:
    """Database of a folder, which no other studio may use meanwhile.

    Attributes:
        folder: The folder, which exists and which only this user may read.

    Raises:
        FolderInUse: Another studio uses the folder, or its database has another layout.
        OSError: The folder cannot be written to.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.folder: Final = folder
        self._lock: Final[IO[str]] = (folder / "lock").open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._lock.close()
            raise FolderInUse(f"another studio uses {folder}; close it, or give another folder with --data") from error
        self._connection: Final = sqlite3.connect(folder / "studio.sqlite", isolation_level=None)
        self._connection.row_factory = sqlite3.Row
        layout = int(self.rows("PRAGMA user_version")[0][0])
        if layout not in (0, _LAYOUT):
            self.close()
            raise FolderInUse(f"{folder} was written by another version of the studio; give another one with --data")
        self._connection.executescript(
            f"PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; {_SCHEMA} PRAGMA user_version={_LAYOUT};"
        )

    def rows(self, statement: str, *values: Any) -> list[sqlite3.Row]:  # noqa: ANN401 - values of columns
        """Rows of a statement, which is committed at once."""
        return self._connection.execute(statement, values).fetchall()

    def close(self) -> None:
        """Closes the database and gives the folder back."""
        self._connection.close()
        self._lock.close()
