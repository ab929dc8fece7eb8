"""What is kept of one row: the key that says which request it was, and its result as JSON. No I/O.

The key is a hash of the request as it is sent, of the model and of a version that the caller gives; whoever has a
result under a key has paid for exactly this request. A `Record` is that result: an answer, vectors, or an error.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Any

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from brainwires_provider.errors import OutputError, ProviderError
from brainwires_provider.types import (
    Attempt,
    Cost,
    EmbeddingArgs,
    Embeddings,
    Message,
    Options,
    Request,
    Response,
    TextPart,
    Tool,
    Usage,
)
from brainwires_provider.types.attempts import cost_of
from brainwires_provider.types.options import NO_OPTIONS
from brainwires_provider.types.suspects import secret_fields
from brainwires_provider.types.usage import add_usage

__all__ = [
    "COLUMNS",
    "KEY_BYTES",
    "Failure",
    "Record",
    "columns",
    "dump_record",
    "embedding_key",
    "load_record",
    "record_after",
    "record_of",
    "record_of_embeddings",
    "record_of_error",
    "request_key",
]

KEY_BYTES = 16
"""Of the key of a request."""
_NOT_IN_THE_REQUEST = frozenset(("timeouts", "strict"))
"""Options that change no answer."""


class Failure(Struct, frozen=True, omit_defaults=True, repr_omit_defaults=True, gc=False):
    """Why a row has no answer."""

    type: str
    """The name of the exception's class, such as "RateLimitError"."""
    message: str
    """What went wrong, without secrets."""
    request_id: str | None = None
    """The provider's id of the request, if there is one."""
    retryable: bool = False
    """Whether the same request may succeed later."""


class Record(
    Struct, frozen=True, omit_defaults=True, repr_omit_defaults=True, gc=False, tag_field="v", tag=1
):
    """What one row has given: an answer, vectors, or an error. Its JSON form has a version, `"v"`."""

    text: str = ""
    """The answer's text; that of a refused or cut answer too, beside its error."""
    output: Any = None
    """The value of the type that `output=` asked for, as JSON values."""
    vectors: list[list[float]] | None = None
    """One vector for each text, of a row that was embedded."""
    message: Message | None = None
    """The whole message, where it is more than a text: tool calls, reasoning, images."""
    finish_reason: str | None = None
    """Why generation ended."""
    provider: str | None = None
    """The provider's name, as in `"provider:model"`."""
    model: str | None = None
    """The model that answered, as the provider reports it."""
    request_id: str | None = None
    """The provider's id of the request."""
    usage: Usage = Usage()
    """Token counts, those of failed attempts included; `raw` is not kept."""
    cost: Cost | None = None
    """What it cost, with `prices=True`. None where it is not known, never 0."""
    error: Failure | None = None
    """Why there is no answer; None if there is one."""


# -- keys ----------------------------------------------------------------------------------------------------


def request_key(request: Request, model: str, *, version: str = "", more: Any = None) -> str:
    """32 hexadecimal digits for a request: its messages, system prompt, tools, output schema and options.

    Equal requests have equal keys in every process; timeouts, strictness, and headers that hold secrets do not count.

    Args:
        request: the whole request, as `Session.request` makes it.
        model: `"provider:model"`.
        version: of the code that makes the request and reads its answer. Another one gives another key.
        more: further JSON values on which the result depends, such as the settings of a run of tools.

    Raises:
        TypeError: for what is no JSON in the request.
    """
    tools = [_tool(each) for each in request.tools]
    asked = (
        request.messages,
        request.system,
        tools,
        request.tool_choice,
        request.output,
        _options(request.options),
        request.extra,
    )
    return _digest(("chat", model, version, asked, more))


def embedding_key(texts: Sequence[str], model: str, args: EmbeddingArgs, *, version: str = "") -> str:
    """The same for texts to embed with `model`, `"provider:model"`."""
    return _digest(("embed", model, version, list(texts), args))


def _digest(value: Any) -> str:
    return blake2b(msgspec.json.encode(value), digest_size=KEY_BYTES).hexdigest()


def _tool(tool: Any) -> Any:
    """What is sent of a tool; its function is not."""
    if not isinstance(tool, Tool):
        return tool
    return {name: getattr(tool, name) for name in Tool.__struct_fields__}


def _options(options: Options) -> dict[str, Any]:
    if options is NO_OPTIONS or options == NO_OPTIONS:
        return {}
    names = [name for name in options.set_fields() if name not in _NOT_IN_THE_REQUEST]
    found = {name: getattr(options, name) for name in names}
    for name in found.keys() & {"extra_headers", "extra_query"}:
        secret = {key for key, _ in secret_fields(found[name])}
        found[name] = {key: value for key, value in found[name].items() if key not in secret}
    own = found.get("provider_options")
    if own is not None:
        listed = own if isinstance(own, tuple) else (own,)
        found["provider_options"] = [(each.protocol, each.items()) for each in listed]
    return found


# -- records -------------------------------------------------------------------------------------------------


def record_of(response: Response[Any], *, usage: Usage | None = None, cost: Cost | None = None) -> Record:
    """What is kept of a response; `usage` and `cost` replace its own, for a run of several."""
    message, counted = response.message, usage or response.usage
    if response.attempts and usage is None:
        counted = add_usage(counted, *_used(response.attempts))
    return Record(
        text=message.text,
        output=None if response.output is None else _as_json(response.output),
        message=None if _is_text(message) else message,
        finish_reason=response.finish_reason,
        provider=response.provider,
        model=response.model,
        request_id=response.request_id,
        usage=replace(counted, raw=None) if counted.raw is not None else counted,
        cost=response.cost if cost is None else cost,
    )


def _is_text(message: Message) -> bool:
    """Whether it is one text, and nothing else."""
    if len(message.content) != 1 or message.extra:
        return not message.content and not message.extra
    part = message.content[0]
    return type(part) is TextPart and not part.citations and not part.extra


def record_of_embeddings(embeddings: Embeddings) -> Record:
    """What is kept of vectors."""
    return Record(
        vectors=embeddings.vectors,
        provider=embeddings.provider,
        model=embeddings.model,
        usage=replace(embeddings.usage, raw=None),
    )


def record_of_error(error: Exception) -> Record:
    """What is kept of a failure, with the answer as far as there is one, which was paid for."""
    failure = Failure(
        type(error).__name__,
        getattr(error, "message", None) or str(error) or type(error).__name__,
        getattr(error, "request_id", None),
        bool(getattr(error, "retryable", False)),
    )
    attempts = error.attempts if isinstance(error, ProviderError) else ()
    partial = getattr(error, "partial", None)
    if isinstance(partial, Response):
        spent = partial if isinstance(error, OutputError) else replace(partial, usage=Usage())
        usage = add_usage(spent.usage, *_used(attempts))
        known = record_of(replace(partial, output=None), usage=usage, cost=partial.cost or cost_of(attempts))
        return replace(known, error=failure)
    provider = getattr(error, "provider", None)
    model = getattr(error, "model", None)
    usage = add_usage(*_used(attempts))
    return Record(provider=provider, model=model, usage=usage, cost=cost_of(attempts), error=failure)


def record_after(record: Record, attempts: Sequence[Attempt]) -> Record:
    """The record with what was used by attempts before it, of the same row."""
    if not attempts:
        return record
    usage = add_usage(record.usage, *_used(attempts))
    return replace(record, usage=usage, cost=cost_of(attempts, record.cost))


def _used(attempts: Sequence[Attempt]) -> list[Usage]:
    return [each.usage for each in attempts if each.usage is not None]


def dump_record(record: Record) -> bytes:
    """One line of JSON, without its end. Raises TypeError for an output that is no JSON."""
    return msgspec.json.encode(record)


def load_record(data: bytes | str | memoryview) -> Record:
    """The record that `dump_record` wrote. Raises ValueError for anything else."""
    try:
        return _DECODER.decode(data)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise ValueError(f"no record of a row: {error}") from None


_DECODER = msgspec.json.Decoder(Record)


def _as_json(value: Any) -> Any:
    return msgspec.to_builtins(value, enc_hook=_of_pydantic, str_keys=True)


def _of_pydantic(value: Any) -> Any:
    """A value of a type that Pydantic knows, which is not imported here."""
    pydantic = sys.modules.get("pydantic")
    if pydantic is None:
        raise TypeError(f"{type(value).__name__} has no form in JSON")
    if isinstance(value, pydantic.BaseModel):
        return value.model_dump(mode="json", by_alias=True)
    try:
        return sys.modules["pydantic_core"].to_jsonable_python(value)
    except ValueError:
        raise TypeError(f"{type(value).__name__} has no form in JSON") from None


# -- columns -------------------------------------------------------------------------------------------------

COLUMNS: Mapping[str, type] = {
    "answer": str,
    "output": object,
    "vector": list,
    "tool_calls": object,
    "finish_reason": str,
    "model": str,
    "input_tokens": int,
    "output_tokens": int,
    "cost_usd": float,
    "request_id": str,
    "error_type": str,
    "error": str,
}
"""The columns of a result, and what is in them; each may be None."""


def columns(record: Record, *, prefix: str = "") -> dict[str, Any]:
    """The columns of a row's result, always the same ones, named with a `prefix`. A row that failed has no answer.

    `vector` is the vector of one text, and a list of them where a row has several; `output` and `tool_calls` are JSON
    values.
    """
    error, usage = record.error, record.usage
    vectors = record.vectors
    calls = record.message.tool_calls if record.message is not None else ()
    values = (
        record.text if error is None and vectors is None else None,
        record.output,
        vectors[0] if vectors is not None and len(vectors) == 1 else vectors,
        [{"id": each.call_id, "name": each.name, "arguments": each.arguments} for each in calls] or None,
        record.finish_reason,
        record.model,
        usage.input_tokens if usage.complete else None,
        usage.output_tokens if usage.complete else None,
        float(record.cost.usd) if record.cost is not None else None,
        record.request_id if error is None else error.request_id,
        None if error is None else error.type,
        None if error is None else error.message,
    )
    return {f"{prefix}{name}": value for name, value in zip(COLUMNS, values, strict=True)}
