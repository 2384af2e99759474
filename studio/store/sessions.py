"""Sessions: browsers that have exchanged a token. The database has digests only."""

from __future__ import annotations

import hashlib
import secrets
import time
from typing import Final

from .database import Database

_LIFETIME_S: Final = 30 * 24 * 3600


class SessionStore:
    """Sessions of a studio, which outlive a restart."""

    def __init__(self, database: Database) -> None:
        self._database: Final = database

    def begin(self) -> str:
        """Secret of a new session."""
        secret = secrets.token_urlsafe(32)
        now = time.time()
        self._database.rows("DELETE FROM sessions WHERE expires < ?", now)
        self._database.rows("INSERT INTO sessions VALUES (?, ?)", _digest(secret), now + _LIFETIME_S)
        return secret

    def holds(self, secret: str) -> bool:
        """Whether the secret is that of a session."""
        found = self._database.rows(
            "SELECT 1 FROM sessions WHERE digest = ? AND expires > ?", _digest(secret), time.time()
        )
        return bool(found)


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
