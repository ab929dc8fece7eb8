"""The log of conversations: an SQLite file in the user's data folder, which only the user can read (mode 600).

Secrets are removed before anything is written. What is deleted is overwritten.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

from brainwires_provider.cli.scrub import Scrubber
from brainwires_provider.cli.stored import Entry, place
from brainwires_provider.cli.talk import Talk
from brainwires_provider.cli.terminal import note
from brainwires_provider.errors import ConfigError
from brainwires_provider.types import dump_messages, load_messages

__all__ = ["Log", "Recorder"]

_TABLE = (
    "CREATE TABLE IF NOT EXISTS conversations (id INTEGER PRIMARY KEY AUTOINCREMENT, began REAL NOT NULL, "
    "updated REAL NOT NULL, model TEXT NOT NULL, base_url TEXT, system TEXT, messages BLOB NOT NULL)"
)
_SELECT = "SELECT id, began, updated, model, base_url, system, messages FROM conversations"
_PATIENCE = 5.0  # seconds for another process that writes


class Log:
    """Reads and writes the file. Every method raises ConfigError if that is impossible."""

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        path = "the log"
        try:
            path = place("logs.db")
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o600))
            os.chmod(path, 0o600)
            with closing(sqlite3.connect(path, timeout=_PATIENCE)) as database:
                database.execute("PRAGMA secure_delete = ON")
                database.execute(_TABLE)
                with database:
                    yield database
        except (OSError, sqlite3.Error, ValueError) as error:
            raise ConfigError(f"{path}: {error}") from None

    def save(self, entry: Entry) -> int:
        """Add a conversation, or replace the one with its id; returns the id. 0 is none."""
        values = (entry.began, entry.updated, entry.model, entry.base_url, entry.system)
        with self._open() as database:
            cursor = database.execute(
                "INSERT OR REPLACE INTO conversations VALUES (?, ?, ?, ?, ?, ?, ?)",
                (entry.id or None, *values, dump_messages(entry.messages)),
            )
            return cursor.lastrowid or 0

    def last(self, most: int = 1) -> list[Entry]:
        """The conversations that were continued last, the very last one first."""
        with self._open() as database:
            found = database.execute(f"{_SELECT} ORDER BY updated DESC, id DESC LIMIT ?", (most,))
            return [_entry(each) for each in found]

    def entry(self, id: int) -> Entry:
        """The conversation with this id."""
        with self._open() as database:
            found = database.execute(f"{_SELECT} WHERE id = ?", (id,)).fetchone()
        if found is None:
            raise ConfigError(f"there is no conversation {id}; `brainwires logs` lists them")
        return _entry(found)

    def clear(self, id: int | None) -> int:
        """Delete one conversation, or all; returns how many."""
        with self._open() as database:
            if id is None:
                return database.execute("DELETE FROM conversations").rowcount
            return database.execute("DELETE FROM conversations WHERE id = ?", (id,)).rowcount


def _entry(values: tuple[Any, ...]) -> Entry:
    id, began, updated, model, base_url, system, messages = values
    return Entry(id, began, updated, model, base_url, system, load_messages(messages))


class Recorder:
    """Keeps one conversation in the log as it grows, unless the setting is off."""

    def __init__(self, scrubber: Scrubber, entry: Entry | None, *, is_kept: bool) -> None:
        self._scrubber = scrubber
        self._is_kept = is_kept
        self._id = 0 if entry is None else entry.id
        self._began = time.time() if entry is None else entry.began
        self._first = None if entry is None else entry.messages[0]

    def keep(self, talk: Talk) -> None:
        """Store the conversation as it is. A failure is reported once, and stops nothing."""
        if not self._is_kept:
            return
        question, clean = talk.question, self._scrubber.clean
        base_url, system = clean(question.base_url), clean(question.args.get("system"))
        messages = clean(talk.messages)
        if self._first not in (None, messages[0]):  # another conversation, that was loaded
            self._id, self._began = 0, time.time()
        self._first = messages[0]
        try:
            self._id = Log().save(
                Entry(self._id, self._began, time.time(), question.model, base_url, system, messages)
            )
        except ConfigError as error:
            self._is_kept = False
            note(f"the conversation is not kept: {error.message}")
