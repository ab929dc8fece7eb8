"""The commands `chat` and `prepare`: their names, options and help. `chat.py` and `prepare.py` do the work."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, NoReturn

import typer

from brainwires_provider.cli.options import ChatOptions, Connection, expand_options
from brainwires_provider.cli.status import FAILED, FINE
from brainwires_provider.cli.terminal import complain, explain, note
from brainwires_provider.errors import ProviderError

__all__ = ["add_requests"]

Finish = Callable[[Callable[[], int]], NoReturn]
_Prompt = Annotated[str | None, typer.Argument(help="The prompt.", show_default=False)]
_Json = Annotated[bool, typer.Option("--json", help="Print the response as one JSON object.")]
_ShowReasoning = Annotated[
    bool, typer.Option("--show-reasoning", help="Print the model's reasoning on standard error.")
]
_Plain = Annotated[
    bool,
    typer.Option(
        "--plain",
        help="Print the answer as it was written. Default: its Markdown is rendered at a terminal.",
    ),
]
_Yes = Annotated[bool, typer.Option("--yes", help="Run the tools' calls without asking.")]
_GoesOn = Annotated[
    bool,
    typer.Option("--continue", "-c", help="Go on with the last conversation, which `brainwires logs` shows."),
]
_Save = Annotated[
    str | None,
    typer.Option(
        "--save",
        metavar="NAME",
        help="Ask nothing: keep the prompt and the options as a template, which -t NAME uses.",
    ),
]


def add_requests(app: typer.Typer, finish: Finish) -> None:
    """Add the commands. `finish` exits with the status that they return."""
    _add_chat(app, finish)
    _add_prepare(app, finish)


def _add_chat(app: typer.Typer, finish: Finish) -> None:
    @app.command()
    @expand_options
    def chat(
        prompt: _Prompt = None,
        *,
        chat_options: ChatOptions,
        connection: Connection,
        as_json: _Json = False,
        show_reasoning: _ShowReasoning = False,
        plain: _Plain = False,
        yes: _Yes = False,
        goes_on: _GoesOn = False,
        save: _Save = None,
    ) -> None:
        """Send a prompt to a model, or hold a conversation.

        The prompt is the argument, standard input, or both: standard input after the argument. At a terminal without
        a prompt a conversation begins, which Ctrl-D ends. Ctrl-C stops a response. Statistics are printed on standard
        error.

        \b
        brainwires chat "Explain what a WebSocket is in one sentence."
        git diff | brainwires chat "Review this change." -m openai-chat:gpt-6
        brainwires chat -m openai-chat:qwen3 --base-url http://localhost:8000/v1
        brainwires chat "Weather in Rome?" -m openai:gpt-6 -T weather:forecast
        brainwires chat "What is this?" -m google:gemini-3-pro -a photo.jpg
        brainwires chat "Is this right?" -f notes.md -f more.md
        brainwires chat -c "And in one word?"
        brainwires chat --save french --system 'Translate to French.' -m groq:llama-4
        brainwires chat -t french "Good morning!"
        brainwires chat "Hard one" -m openai:gpt-6 -o reasoning=high -o stop='["END"]'
        """
        if save is not None:
            finish(lambda: _save(save, chat_options, prompt, connection))
        from brainwires_provider.cli.chat import chat as run

        finish(
            lambda: run(
                prompt,
                lambda entry: chat_options.ask(connection, entry),
                as_json=as_json,
                show_reasoning=show_reasoning,
                plain=plain,
                unasked=yes,
                goes_on=goes_on,
            )
        )


def _add_prepare(app: typer.Typer, finish: Finish) -> None:
    @app.command()
    @expand_options
    def prepare(
        prompt: _Prompt = None,
        *,
        chat_options: ChatOptions,
        connection: Connection,
        stream: Annotated[
            bool, typer.Option("--stream", help="The request for a streamed response.")
        ] = False,
        curl: Annotated[bool, typer.Option("--curl", help="Print it as a curl command.")] = False,
    ) -> None:
        """Show the exact request that chat would send, secrets redacted, without sending it.

        \b
        brainwires prepare "Hi" -m groq:llama-4
        brainwires prepare "Hi" -m openai-chat:gpt-6 --stream --curl
        brainwires prepare "What is this?" -m openai:gpt-6 -a photo.jpg
        """
        from brainwires_provider.cli.prepare import prepare as run

        finish(lambda: run(prompt, lambda: chat_options.ask(connection), stream=stream, curl=curl))


def _save(name: str, options: ChatOptions, prompt: str | None, connection: Connection) -> int:
    from brainwires_provider.cli.template import save

    try:
        replaces = save(name, options.as_template(prompt, connection))
    except ProviderError as error:
        complain(explain(error))
        return FAILED
    note(f"template {name} is {'replaced' if replaces else 'saved'}; use it with: brainwires chat -t {name}")
    return FINE
