"""The commands at the prompt of a conversation: a line that begins with a slash and a word."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from pathlib import Path

from brainwires_provider.cli.completing import complete, known_models
from brainwires_provider.cli.talk import Prints, Talk
from brainwires_provider.cli.terminal import note
from brainwires_provider.config.reading import near
from brainwires_provider.errors import ConfigError
from brainwires_provider.local.weights.folders import write_atomically
from brainwires_provider.types import Message, dump_messages, load_messages

__all__ = ["Commands"]

_COMMAND = re.compile(r"/([A-Za-z?]+)(?:\s+(.*))?", re.DOTALL)  # not a path: `/usr/bin` is a prompt
_MULTI_LINE = (
    "A line that ends with a backslash goes on in the next one.\n"
    'All lines between """ and """ are one input.\n'
    "A line that begins with a space is no command. Tab completes commands.\n"
    "Ctrl-C stops an answer, Ctrl-D ends the conversation."
)


class Commands:
    """What the commands do to a conversation."""

    def __init__(self, talk: Talk, printer: Prints) -> None:
        self._talk = talk
        self._printer = printer
        self._table: dict[str, tuple[str, str, Callable[[str], Awaitable[None]]]] = {
            "help": ("", "list these commands", self._help),
            "model": ("NAME", "go on with another model; without NAME, show the present one", self._model),
            "system": ("TEXT", "use another system prompt; without TEXT, none", self._system),
            "save": ("FILE", "write the conversation to a file", self._save),
            "load": ("FILE", "go on from the conversation in a file", self._load),
            "retry": ("", "ask the last prompt again, instead of its answer", self._retry),
        }

    async def obey(self, line: str) -> bool:
        """Do what a line commands; whether it is a command. Raises ConfigError for one that is unknown or fails."""
        match = _COMMAND.fullmatch(line.rstrip())
        if match is None:
            return False
        name, argument = match[1].lower(), (match[2] or "").strip()
        if name not in self._table:
            hint = near(name, self._table)
            raise ConfigError(f"there is no command /{name}; {hint or '/help lists them'}")
        words, _, run = self._table[name]
        if argument and not words:
            raise ConfigError(f"/{name} takes nothing")
        if words == "FILE" and not argument:
            raise ConfigError(f"/{name} takes a file")
        await run(argument)
        return True

    def completed(self, line: str) -> list[str]:
        """What Tab offers for a line up to the cursor."""
        question = self._talk.question
        takes = [(name, words) for name, (words, _, _) in self._table.items()]
        return complete(line, takes, lambda: known_models(question.config, question.model))

    async def _help(self, _: str) -> None:
        for name, (words, does, _run) in self._table.items():
            note(f"/{name} {words}".ljust(14) + does, keep=True)
        for line in _MULTI_LINE.splitlines():
            note(line)

    async def _model(self, name: str) -> None:
        if name:
            await self._talk.use(self._talk.question.with_model(name))
            self._printer.wait_for(name)
        note(f"the model is {self._talk.question.model}")

    async def _system(self, text: str) -> None:
        question = self._talk.question
        args = question.args.copy()
        args.pop("system", None)
        if text:
            args["system"] = text
        await self._talk.use(question._replace(args=args))
        note("the system prompt is changed" if text else "there is no system prompt now")

    async def _save(self, name: str) -> None:
        _write(name, self._talk.messages)
        note(f"{len(self._talk.messages)} messages are in {name}")

    async def _load(self, name: str) -> None:
        self._talk.begin(_read(name, "it is no saved conversation"))
        note(f"{len(self._talk.messages)} messages are from {name}")

    async def _retry(self, _: str) -> None:
        await self._talk.retry(self._printer)


def _write(name: str, messages: list[Message]) -> None:
    """Save a conversation, in place of another one at most. Raises ConfigError."""
    path = Path(name).expanduser()
    if path.exists():
        _read(name, "it exists and is no saved conversation")
    try:
        write_atomically(str(path), dump_messages(messages))
    except OSError as error:
        raise ConfigError(f"{name}: cannot be written: {error.strerror}") from None


def _read(name: str, otherwise: str) -> list[Message]:
    """A saved conversation. Raises ConfigError for any other file."""
    try:
        return load_messages(Path(name).expanduser().read_bytes())
    except OSError as error:
        raise ConfigError(f"{name}: cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise ConfigError(f"{name}: {otherwise} ({error})") from None
