"""What strictness refuses: all that is dropped or emulated, and what is adapted so that it may give less.

`KEPT` and `WEAKER` judge every reason in the code for sending something in another form, and a new one has to be
judged too. Each is met by a request of this file, of the fixtures or of the services' rules, with `strict=True` and
without.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import cache
from typing import Any

from test_message_rules import CASES as RULES

from brainwires_provider import (
    PROVIDERS,
    AsyncClient,
    Cache,
    CacheStrategy,
    JSONSchema,
    Message,
    Options,
    PreparedRequest,
    ProviderConfig,
    Reasoning,
    Request,
    TextPart,
    Tool,
    ToolCallPart,
    ToolChoice,
    UnsupportedError,
)
from brainwires_provider.types import Deviation
from fixture_cases import MODEL, cases
from reasons import reasons

KEPT = (
    # another form, in which the model may do nothing that it may not do under the given one
    "Ollama takes the schema alone, and always constrains the model to it",
    "llama.cpp takes the schema alone, and always holds the model to it",
    "this protocol always holds to the schema",
    "expressed in {}'s schema dialect: {}",
    "set for all functions by the calling mode {}",
    "set for all functions by the mode {}",
    "the API demands the schema's type: an object",
    "this service has no plain JSON mode: the schema of any object is sent",
    "the API demands the word JSON in the input: a developer message has it",
    "the service demands the word JSON in a message: a system message has it",
    # an effort in the unit that the model takes
    "this model takes a budget in tokens",
    "this model takes no effort but a budget: {} tokens",
    # what is changed beside it was not set
    "the API demands a limit: {} tokens unless set",
    "no tool can be forced while this model thinks: it is switched off",
    "{}: it is switched off",
    "{} takes no sampling: the request is sent under version {}",
    # marks
    "no cache marks are sent",
    "breakpoints after {}",
    "no breakpoint{}",
    "inside a tool's result none can be set: set on the result",
    # places and forms in the history
    "a turn between calls and their results is part of the turn before it",
    "results are sent right after the calls that they answer",
    "the API wants results ahead of all else",
    (
        "functionCallOutput takes the result of an answer's only call: what follows the calls goes in "
        "conversationHistory, with them"
    ),
    "it stands after a user's turn: sent behind the next",
    "one system message is taken: all are merged",
    "this API has no developer role: sent as system",
    "this protocol has no developer role: sent as system",
    "this protocol has no developer role: sent as the system's",
    "this service has no developer role: sent as system",
    "this API has no files: sent as text",
    "this service has no part for text files: sent as text",
    "text files have no kind of content here: sent as text",
    "the images of a message stand before its text",
    "documents' names take few characters: sent as {}",
    # what an earlier answer holds
    "this API has no refusals: sent as text",
    "this protocol has no refusals: sent as text",
    "an answer to be continued must not end in blanks: they are cut",
    "an empty error is refused: sent as {}",
    "an empty result is refused: sent as {}",
    "the arguments are no JSON object: sent as the text under {}",
    "a tool's name must match {}: what does not is removed",
    "this API takes letters, digits, _ and - in ids only",
    "this API takes letters, digits, {}",
    "this API takes up to {} characters in ids of calls",
    "this service takes only short ids: sent as another, as in its result",
    "this service refuses a turn with calls without reasoning: an empty one is sent",
)
WEAKER = (
    # another effort than the given
    "this model's nearest effort is {}",
    "this service's nearest effort is {}",
    "this model has no level {}: the nearest is sent",
    "this model takes low, medium and high: {} is sent",
    "the lowest effort here is low",
    "this service only switches thinking on and off",
    "this server only switches thinking on and off{}",
    "the nearest level that this model has is {}",
    "Ollama has no {}",
    "this model always thinks: its least budget is {} tokens",
    "this model still writes a little between its tool calls",
    "this model takes a budget or an effort: the budget is sent",
    "the budget of this effort is cut to {} tokens, which have room",
    "summaries have no sizes here",
    "summaries have one length here",
    # a choice or a schema that does not bind
    "beside a thinking budget no tool can be forced: auto is sent",
    "no tool can be forced while this model thinks: auto is sent",
    "this model takes no forced tool choice: auto is sent",
    "this model follows a schema as well as it can: strict is not sent",
    "in {}'s schema dialect, not all of it binding: {}",
    "the schema is sent alone, without its description",
    # marks that hold for less
    "{} cannot follow {}: longer times to live stand first",
    "{} are taken by explicit marks{}",
    # instructions that are the user's, or at another place
    "only leading ones can be instructions: sent as the user's",
    "only leading texts can be instructions: sent as the user's",
    "this model takes no instruction: sent at the beginning of the first user message",
    "this model takes no instruction: sent as the user's first input",
    "one system message is taken, the first: all are merged into it",
)
PUT_TOGETHER = "{}"
"""A reason of Ollama's reasoning, or of a plan of cache marks: judged by its parts, above."""


def _pattern(reason: str) -> re.Pattern[str]:
    return re.compile(".*".join(map(re.escape, reason.split("{}"))), re.DOTALL)


def judged(reason: str) -> list[str]:
    """The entries of the tables that a reason is; of both, the weaker counts."""
    found = [each for each in WEAKER if _pattern(each).fullmatch(reason)]
    return found or [each for each in KEPT if _pattern(each).fullmatch(reason)]


def refused(deviations: Iterable[Deviation]) -> set[str]:
    """The fields that a strict request is refused for."""
    return {
        each.field
        for each in deviations
        if (each.outcome != "adapted" or judged(each.reason)[0] in WEAKER)
        and (
            not each.field.startswith("messages[")
            or each.field.endswith((".cache", ".extra", ".detail", ".role"))
            or re.fullmatch(r"messages\[\d+\]\.name", each.field)
        )
    }


# -- requests that meet what no fixture and no rule does -----------------------------------------------------

HI = (Message.user("Hi"),)
TOOL = Tool("weather", "Gives the weather.", {"type": "object", "properties": {}})
NESTED = {"type": "object", "properties": {"n": {"type": "integer", "minimum": 1}}, "required": ["n"]}
CALLED = ToolCallPart("c.1", "weather", "[1]")


def marked(text: str) -> TextPart:
    return TextPart(text, cache=Cache())


def asked(*messages: Message, **given: Any) -> Request:
    options = {name: given.pop(name) for name in list(given) if name in Options.__struct_fields__}
    return Request(messages or HI, options=Options(**options), **given)


FORCED: dict[str, Any] = {"tools": (TOOL,), "tool_choice": ToolChoice("required")}
CASES: dict[str, Request] = {
    "ollama:m a strict schema": asked(output=JSONSchema("n", NESTED, strict=True)),
    "ollama:m a described schema": asked(output=JSONSchema("n", NESTED, description="A count.")),
    "ollama:m a level": asked(reasoning="minimal"),
    "ollama:m a budget": asked(reasoning=Reasoning("high", budget_tokens=2000)),
    "perplexity:sonar plain JSON": asked(output="json"),
    "anthropic:claude-sonnet-4-5 a budget": asked(reasoning="high"),
    "anthropic:claude-sonnet-4-5 no room": asked(reasoning="high", max_tokens=3000),
    "anthropic:claude-sonnet-4-5 both": asked(reasoning=Reasoning("high", budget_tokens=2000)),
    "anthropic:claude-sonnet-4-5 forced": asked(reasoning="high", **FORCED),
    "anthropic:claude-sonnet-5 an id": asked(
        *HI, Message.assistant(CALLED), Message.tool_result(CALLED, "sun")
    ),
    "anthropic:claude-sonnet-5 a summary": asked(reasoning=Reasoning("high", summary="concise")),
    "anthropic:claude-sonnet-5 limits": asked(output=JSONSchema("n", NESTED)),
    "anthropic:claude-sonnet-5 nothing to cache": asked(cache=CacheStrategy.system_and_tools()),
    "anthropic:claude-sonnet-5 many marks": asked(
        Message.user(*map(marked, "abcd")), tools=(TOOL,), cache=CacheStrategy.system_and_tools()
    ),
    "anthropic:claude-sonnet-5-5 off": asked(reasoning="off"),
    "anthropic:claude-opus-5-5 forced": asked(**FORCED),
    "deepseek:deepseek-v4-pro forced": asked(**FORCED),
    "deepseek:deepseek-v4-pro forced while it thinks": asked(reasoning="high", **FORCED),
    "openai-chat:gpt-6 tools": asked(tools=(TOOL,)),
    "openai-responses:gpt-6 an effort": asked(reasoning="minimal"),
    "cohere:command-a an effort": asked(reasoning="low"),
    "minimax:MiniMax-M3 an effort": asked(reasoning="high"),
    "google:gemini-3-pro a level": asked(reasoning="minimal"),
    "google:gemini-2.5-pro off": asked(reasoning="off"),
    "google:gemma-3-27b-it a system text": asked(system="Be brief."),
    "google-interactions:gemma-3-27b-it a system text": asked(system="Be brief."),
    "bedrock:amazon.nova-2-lite-v1:0 an effort": asked(reasoning="minimal"),
    "groq:llama-3.3-70b-versatile strict": asked(output=JSONSchema("n", NESTED, strict=True)),
}
"""By a model and what is asked of it."""
NOT_PREPARED = {
    "llama.cpp takes the schema alone, and always holds the model to it",  # client.local.complete: test_llamacpp.py
    "this server only switches thinking on and off{}",  # no provider of the table has that quirk
}


@cache
def client(provider: str) -> AsyncClient:
    entry = PROVIDERS[provider]
    config = ProviderConfig(
        provider,
        api_key=None if entry.keyless else "k",
        base_url=None if entry.base_url else "https://a.test/v1",
        region={"aws": "us-east-1", "google": "global", None: None}[entry.cloud],
        project="p" if entry.cloud == "google" else None,
    )
    return AsyncClient(providers=[config])


def requests() -> Iterator[tuple[str, str, Request]]:
    """A name, a model, and what it is asked."""
    for case in cases():
        if case.request.messages:
            yield f"{case.folder.parent.name}-{case.folder.name}", f"{case.row.name}:{MODEL}", case.request
    for name, rule in RULES.items():
        yield name, rule.model, Request(rule.messages, **rule.request)
    for name, request in CASES.items():
        yield name, name.partition(" ")[0], request


@cache
def sent() -> tuple[tuple[str, str, Request, PreparedRequest], ...]:
    """Those that are not refused in any case."""
    found = []
    for name, model, request in requests():
        with suppress(UnsupportedError):
            done = client(model.partition(":")[0]).prepare(request, model=model)
            found.append((name, model, request, done))
    return tuple(found)


def test_every_reason_in_the_code_is_judged() -> None:
    found = set(reasons())
    assert {each for kind, each in found if kind == "adapted" and each != PUT_TOGETHER} <= set(KEPT)
    assert {each for kind, each in found if kind == "weaken" and each != PUT_TOGETHER} <= set(WEAKER)
    assert not set(KEPT) & set(WEAKER)


def test_every_judged_reason_is_met() -> None:
    met = {
        each for *_, done in sent() for deviation in done.report.adapted for each in judged(deviation.reason)
    }
    assert [each for each in (*KEPT, *WEAKER) if each not in met | NOT_PREPARED] == []


def test_strictness_refuses_what_gives_less_and_nothing_else() -> None:
    wrong = []
    for name, model, request, done in sent():
        found: set[str] = set()
        try:
            strict = client(model.partition(":")[0]).prepare(request, model=model, strict=True)
        except UnsupportedError as error:
            deviations = done.report.deviations
            found = {each.field for each in deviations if f"{each.field}: {each.reason}" in str(error)}
        else:
            assert strict.body == done.body
        if found != refused(done.report.deviations):
            wrong.append((name, found ^ refused(done.report.deviations)))
    assert wrong == []
