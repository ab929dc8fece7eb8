"""The models of the Agents SDK that ask any provider, and what makes them of names."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

from agents import (
    AgentOutputSchemaBase,
    Handoff,
    Model,
    ModelBehaviorError,
    ModelProvider,
    ModelResponse,
    ModelRetryAdvice,
    ModelRetryAdviceRequest,
    ModelSettings,
    ModelTracing,
    Span,
    SpanError,
    Tool,
    TResponseInputItem,
    Usage,
    UserError,
    generation_span,
)
from agents.items import TResponseStreamEvent
from openai.types.responses import ResponsePromptParam

from brainwires_provider.client import AsyncClient
from brainwires_provider.errors import ProviderError
from brainwires_provider.integrations.openai_agents.errors import advice_on, as_theirs
from brainwires_provider.integrations.openai_agents.request import arguments_of, input_of, taken_ids
from brainwires_provider.integrations.openai_agents.values import (
    input_details,
    output_details,
    output_items,
    typed,
)
from brainwires_provider.integrations.responses import ResponsesEncoder
from brainwires_provider.types import Origin, Response

__all__ = ["BrainwiresModel", "BrainwiresProvider"]

Wire = dict[str, Any]


class BrainwiresModel(Model):
    """A model of the Agents SDK that asks any provider of this library.

    What the SDK's items have no field for (signatures, encrypted reasoning, the provider's own items, which model made
    what) is kept in their `provider_data`, through sessions and JSON, and goes back to the model that it came from.

    Args:
        model: `"provider:model"`, or a name of the configuration's `[models]`. Default: the client's model.
        client: the `AsyncClient` to use, which the caller closes; its options, retries, limits and hooks apply.
            Default: one of this model's own, which `close` closes.
        client_args: for a client of its own, the keywords of `AsyncClient`, such as `api_key`, `base_url` and `retry`.

    Raises TypeError for a client and keywords for another. An unknown provider is a UserError of the first request.
    """

    def __init__(
        self, model: str | None = None, *, client: AsyncClient | None = None, **client_args: Any
    ) -> None:
        if client is not None and client_args:
            raise TypeError(f"a client, or {', '.join(client_args)} for one, not both")
        self._owns_client = client is None
        self.client = AsyncClient(model, **client_args) if client is None else client
        self.model = model
        self._target: Origin | None = None

    @property
    def target(self) -> Origin:
        """The protocol, provider and model that are asked."""
        if self._target is None:
            asked = {} if self.model is None else {"model": self.model}
            self._target = self.client.prepare("", **asked).origin  # type: ignore[arg-type]
            assert self._target is not None
        return self._target

    async def close(self) -> None:
        """Close the client, if it is this model's own."""
        if self._owns_client:
            await self.client.aclose()

    def get_retry_advice(self, request: ModelRetryAdviceRequest) -> ModelRetryAdvice | None:
        """Whether the error may be gone at another attempt, for `ModelSettings.retry`'s policies."""
        return advice_on(request.error)

    # -- requests --------------------------------------------------------------------------------------------

    async def get_response(  # noqa: PLR0917 - the SDK's signature
        self,
        system_instructions: str | None,
        input: str | list[TResponseInputItem],
        model_settings: ModelSettings,
        tools: list[Tool],
        output_schema: AgentOutputSchemaBase | None,
        handoffs: list[Handoff[Any, Any]],
        tracing: ModelTracing,
        *,
        previous_response_id: str | None = None,
        conversation_id: str | None = None,
        prompt: ResponsePromptParam | None = None,
    ) -> ModelResponse:
        """Ask, and wait for the whole response.

        Raises:
            UserError: Something of the request has no form in the provider's protocol. Nothing was sent.
            ModelBehaviorError: The answer is cut off, or violates the protocol.
            openai.APIError: The provider refused, or the connection failed, by openai-python's classes.
        """
        with self._span(input, model_settings, tracing) as span, _translated():
            messages, given = self._request(
                system_instructions, input, model_settings, tools, output_schema, handoffs,
                previous_response_id, conversation_id, prompt,
            )  # fmt: skip
            response = await self.client.chat(messages, **given)
            ended = self._encoder(input, model_settings).whole(response)
            self._note_end(span, tracing, ended)
            if ended["status"] != "completed":
                raise _cut(ended)
            return ModelResponse(
                output=output_items(ended),
                usage=_usage(ended),
                response_id=ended["id"],
                request_id=response.request_id,
                raw_usage=_raw_usage(response, model_settings),
            )

    async def stream_response(  # noqa: PLR0917 - the SDK's signature
        self,
        system_instructions: str | None,
        input: str | list[TResponseInputItem],
        model_settings: ModelSettings,
        tools: list[Tool],
        output_schema: AgentOutputSchemaBase | None,
        handoffs: list[Handoff[Any, Any]],
        tracing: ModelTracing,
        *,
        previous_response_id: str | None = None,
        conversation_id: str | None = None,
        prompt: ResponsePromptParam | None = None,
    ) -> AsyncIterator[TResponseStreamEvent]:
        """Ask, and yield the response as it comes, as events of a Responses stream. Raises as `get_response` does."""
        with self._span(input, model_settings, tracing) as span, _translated():
            messages, given = self._request(
                system_instructions, input, model_settings, tools, output_schema, handoffs,
                previous_response_id, conversation_id, prompt,
            )  # fmt: skip
            encoder = self._encoder(input, model_settings)
            async with self.client.stream(messages, **given) as stream:
                async for event in stream:
                    for wire in encoder.feed(event):
                        theirs = typed(wire)
                        if wire["type"] == "response.completed":
                            self._finish(theirs.response, stream.response, model_settings)
                            self._note_end(span, tracing, encoder.response)
                        yield theirs
                ended = encoder.response
                if ended["status"] != "completed":
                    self._note_end(span, tracing, ended)
                    raise _cut(ended)

    def _request(  # noqa: PLR0917
        self,
        system: str | None,
        input: str | list[TResponseInputItem],
        settings: ModelSettings,
        tools: list[Tool],
        output_schema: AgentOutputSchemaBase | None,
        handoffs: list[Handoff[Any, Any]],
        previous_response_id: str | None,
        conversation_id: str | None,
        prompt: ResponsePromptParam | None,
    ) -> tuple[Any, Any]:
        """The input and the keywords of a call."""
        if prompt is not None:
            raise UserError("a stored prompt is OpenAI's own: give the agent its instructions instead")
        target = self.target
        state = {"previous_response_id": previous_response_id, "conversation": conversation_id}
        given = arguments_of(target, settings, tools, handoffs, output_schema, state)
        if system is not None:
            given["system"] = system
        if self.model is not None:
            given["model"] = self.model
        return input_of(input, target), given

    def _encoder(self, input: str | list[TResponseInputItem], settings: ModelSettings) -> ResponsesEncoder:
        fields = {"temperature": settings.temperature, "top_p": settings.top_p}
        return ResponsesEncoder(
            seed=uuid4().hex,
            model=self.target.model or "",
            created_at=time.time(),
            fields=fields,
            taken=taken_ids(input),
        )

    @staticmethod
    def _finish(theirs: Any, ours: Response[Any], settings: ModelSettings) -> None:
        """What the runner reads of a streamed response beside its fields."""
        theirs._request_id = ours.request_id
        if settings.preserve_raw_usage:
            object.__setattr__(theirs, "_agents_sdk_raw_usage", _raw_usage(ours, settings))

    # -- tracing ---------------------------------------------------------------------------------------------

    @contextmanager
    def _span(self, input: Any, settings: ModelSettings, tracing: ModelTracing) -> Iterator[Span[Any]]:
        """The generation's span, as the SDK's own models make it."""
        with generation_span(model=self.model, disabled=tracing.is_disabled()) as span:
            if span.span_id != "no-op":
                span.span_data.model_config = _config(settings, tracing)
                if tracing.include_data():
                    span.span_data.input = (
                        [{"role": "user", "content": input}] if isinstance(input, str) else input
                    )
            try:
                yield span
            except Exception as error:
                shown = str(error) if tracing.include_data() else "Error details are redacted."
                span.set_error(SpanError(message="Error getting response", data={"error": shown}))
                raise

    @staticmethod
    def _note_end(span: Span[Any], tracing: ModelTracing, ended: Wire) -> None:
        if span.span_id == "no-op":
            return
        if tracing.include_data():
            span.span_data.output = ended["output"]
        if ended["usage"] is not None:
            span.span_data.usage = {"requests": 1, **ended["usage"]}


class BrainwiresProvider(ModelProvider):
    """Models by their names, `"provider:model"`: `RunConfig(model_provider=BrainwiresProvider())`.

    Args:
        client: the `AsyncClient` that all its models use, which the caller closes. Default: one of its own.
        client_args: for a client of its own, the keywords of `AsyncClient`; `model` is that of agents without one.
    """

    def __init__(self, *, client: AsyncClient | None = None, **client_args: Any) -> None:
        if client is not None and client_args:
            raise TypeError(f"a client, or {', '.join(client_args)} for one, not both")
        self._owns_client = client is None
        self.client = AsyncClient(**client_args) if client is None else client
        self._models: dict[str | None, BrainwiresModel] = {}

    def get_model(self, model_name: str | None) -> Model:
        """The model of a name; None: the client's own."""
        known = self._models.get(model_name)
        if known is None:
            known = self._models[model_name] = BrainwiresModel(model_name, client=self.client)
        return known

    async def aclose(self) -> None:
        """Close the client, if it is this provider's own."""
        if self._owns_client:
            await self.client.aclose()


@contextmanager
def _translated() -> Iterator[None]:
    """Raise errors by the classes that the SDK's users know, with ours as the cause."""
    try:
        yield
    except ProviderError as error:
        raise as_theirs(error) from error


_ADVICE = {
    "max_output_tokens": ": raise max_tokens, or shorten what is asked",
    "in_progress": ": an agent cannot wait for a response in the background; use client.responses",
}


def _cut(ended: Wire) -> ModelBehaviorError:
    details = ended.get("incomplete_details") or {}
    why = details.get("reason") or ended["status"]
    return ModelBehaviorError(f"the response is not complete ({why}){_ADVICE.get(why, '')}")


def _usage(ended: Wire) -> Usage:
    counts = ended["usage"]
    if counts is None:
        return Usage(requests=1)
    return Usage(
        requests=1,
        input_tokens=counts["input_tokens"],
        output_tokens=counts["output_tokens"],
        total_tokens=counts["total_tokens"],
        input_tokens_details=input_details(counts),
        output_tokens_details=output_details(counts),
    )


def _raw_usage(response: Response[Any], settings: ModelSettings) -> dict[str, Any] | None:
    raw = response.usage.raw
    return dict(raw) if settings.preserve_raw_usage and raw is not None else None


def _config(settings: ModelSettings, tracing: ModelTracing) -> Mapping[str, Any]:
    """The settings that a trace may show."""
    shown: dict[str, Any] = getattr(settings, "to_traceable_dict", settings.to_json_dict)()
    if not tracing.include_data():
        shown.pop("metadata", None)
    return shown
