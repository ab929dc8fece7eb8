"""A model for pydantic-ai's agents."""

from __future__ import annotations

import copy
from collections.abc import AsyncGenerator, Sequence
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext
from functools import cached_property
from types import TracebackType
from typing import Any, Self

from opentelemetry import trace
from pydantic_ai import RunContext
from pydantic_ai.exceptions import UserError
from pydantic_ai.messages import ModelMessage, ModelResponse
from pydantic_ai.models import (
    Model,
    ModelRequestParameters,
    StreamedResponse,
    check_allow_model_requests,
)
from pydantic_ai.native_tools import AbstractNativeTool
from pydantic_ai.profiles import ModelProfile, ModelProfileSpec
from pydantic_ai.settings import ModelSettings
from pydantic_ai.tools import ToolDefinition
from pydantic_ai.usage import RequestUsage

from brainwires_provider._core.output import is_open
from brainwires_provider.auth.keys import Key
from brainwires_provider.client import AsyncClient
from brainwires_provider.errors import ProviderError, UnsupportedError
from brainwires_provider.integrations.pydantic_ai.errors import translated, translating
from brainwires_provider.integrations.pydantic_ai.histories import (
    History,
    has_urls,
    state_of,
    with_downloads,
)
from brainwires_provider.integrations.pydantic_ai.hosted import SUPPORTED, hosted_tools, unsupported_settings
from brainwires_provider.integrations.pydantic_ai.names import PREFIX, system_of
from brainwires_provider.integrations.pydantic_ai.private import instructions_of, tool_choice_of
from brainwires_provider.integrations.pydantic_ai.profiles import profile_of
from brainwires_provider.integrations.pydantic_ai.responses import counted, model_response
from brainwires_provider.integrations.pydantic_ai.settings import (
    BrainwiresModelSettings,
    call_arguments,
    unsent,
)
from brainwires_provider.integrations.pydantic_ai.stream import BrainwiresStreamedResponse
from brainwires_provider.resources.resolved import ResolvedModel
from brainwires_provider.types import JSONSchema, Message, Origin, Request, Tool

__all__ = ["BrainwiresModel"]


class BrainwiresModel(Model[AsyncClient]):
    """A model of any provider of this library, for `Agent(BrainwiresModel("anthropic:claude-sonnet-5"))`.

    `model` is `"provider:model"`, or a name of the client's configuration. Without a `client`, one is made of
    `api_key` and `base_url`, and closed when the model's or agent's `async with` is left; a client that is given stays
    open, and its policies hold: retries (by default three attempts), limits, budgets, fallbacks, telemetry. Nothing
    is sent before the first request.

    `settings` are defaults for every request, a `BrainwiresModelSettings`; `profile` overrides what the table of
    models says. Raises `UserError` for an unknown provider or a missing key, at the first use.
    """

    def __init__(
        self,
        model: str,
        *,
        client: AsyncClient | None = None,
        api_key: Key | None = None,
        base_url: str | None = None,
        settings: ModelSettings | BrainwiresModelSettings | None = None,
        profile: ModelProfileSpec | None = None,
    ) -> None:
        if client is not None and (api_key is not None or base_url is not None):
            raise UserError("api_key and base_url belong to the client: give them when it is made")
        super().__init__(settings=settings, profile=profile)
        self._named = model
        self._is_own_client = client is None
        self._entered = 0
        with translating(self._named):
            self._client = client or AsyncClient(self._named, api_key=api_key, base_url=base_url)

    # -- which model ---------------------------------------------------------------------------------------

    @property
    def client(self) -> AsyncClient:
        """The client that sends the requests."""
        return self._client

    @cached_property
    def resolved(self) -> ResolvedModel:
        """Where requests go, and what the model accepts. Raises `UserError` for an unknown provider, or no key."""
        with translating(self._named):
            return self._client.resolve(self._named)

    @property
    def model_name(self) -> str:
        """The model's name in requests, without the provider."""
        return self.resolved.model

    @property
    def system(self) -> str:
        """pydantic-ai's name of the provider."""
        return system_of(self.resolved.provider)

    @property
    def base_url(self) -> str:
        """The address below which requests go."""
        return self.resolved.base_url

    @property
    def model_id(self) -> str:
        """The name of the model, which `BrainwiresModels` takes."""
        return f"{PREFIX}{self._named}"

    @property
    def _origin(self) -> Origin:
        model = self.resolved
        return Origin(model.protocol, model.provider, model.model)

    @classmethod
    def supported_native_tools(cls) -> frozenset[type[AbstractNativeTool]]:
        """The native tools that some protocol has; `profile` narrows them to the model's own."""
        return SUPPORTED

    def unsupported_native_tool_settings(self, native_tool: AbstractNativeTool) -> frozenset[str]:
        """The settings of a native tool that narrow it, and that the provider has no field for."""
        return unsupported_settings(native_tool, self.resolved.protocol)

    def _provider_model_profile(self) -> ModelProfile:
        return profile_of(self.resolved)

    def __eq__(self, other: object) -> bool:
        return self is other

    __hash__ = object.__hash__

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._named!r})"

    # -- requests ------------------------------------------------------------------------------------------

    async def request(
        self,
        messages: list[ModelMessage],
        model_settings: ModelSettings | None,
        model_request_parameters: ModelRequestParameters,
    ) -> ModelResponse:
        """One whole answer. Raises what pydantic-ai's models raise; this library's error is the `__cause__`."""
        check_allow_model_requests()
        call = _Call(self, model_settings, model_request_parameters)
        with translating(self.model_name), _one_span():
            response = await call.with_files(messages, call.chat)
        return model_response(
            response, name=self.model_name, provider=self.system, url=self.base_url, unsent=call.unsent
        )

    @asynccontextmanager
    async def request_stream(
        self,
        messages: list[ModelMessage],
        model_settings: ModelSettings | None,
        model_request_parameters: ModelRequestParameters,
        run_context: RunContext[Any] | None = None,
    ) -> AsyncGenerator[StreamedResponse]:
        """An answer as it comes. What fails before its first event is raised when this is entered."""
        check_allow_model_requests()
        call = _Call(self, model_settings, model_request_parameters)
        with translating(self.model_name), _one_span():
            stream = await call.with_files(messages, call.stream)
        try:
            yield BrainwiresStreamedResponse(
                call.parameters,
                stream,
                name=self.model_name,
                provider=self.system,
                url=self.base_url,
                unsent=call.unsent,
            )
        finally:
            await stream.aclose()

    async def count_tokens(
        self,
        messages: list[ModelMessage],
        model_settings: ModelSettings | None,
        model_request_parameters: ModelRequestParameters,
    ) -> RequestUsage:
        """The input tokens of a request, as its provider counts them.

        Raises NotImplementedError where the provider cannot count.
        """
        check_allow_model_requests()
        call = _Call(self, model_settings, model_request_parameters)
        try:
            return counted(await call.with_files(messages, call.count))
        except UnsupportedError as error:
            raise NotImplementedError(error.message) from error
        except ProviderError as error:
            raise translated(error, self.model_name) from error

    # -- the client's life ---------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        self._entered += 1
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._entered -= 1
        if self._entered == 0 and self._is_own_client:
            await self.aclose()

    async def aclose(self) -> None:
        """Close the connections of the model's own client; a later request opens new ones."""
        if self._is_own_client:
            used, self._client = self._client, copy.copy(self._client)
            await used.aclose()


class _Call:
    """One request: settings and parameters as pydantic-ai has prepared them for the model."""

    def __init__(
        self, model: BrainwiresModel, settings: ModelSettings | None, parameters: ModelRequestParameters
    ) -> None:
        self._model = model
        prepared, self.parameters = model.prepare_request(settings, parameters)
        self._settings = prepared or ModelSettings()
        self.unsent = unsent(self._settings, model.resolved.protocol, model.system)
        if self.unsent and self._settings.get("brainwires_strict"):
            raise UserError("; ".join(self.unsent))

    async def with_files(self, messages: list[ModelMessage], act: Any) -> Any:
        """What `act` makes of the request; again with files downloaded, where the service takes no addresses."""
        given = await with_downloads(messages, all_of_them=False) if has_urls(messages) else messages
        try:
            return await act(self._request(given), self._arguments())
        except UnsupportedError:
            if not has_urls(given):
                raise
            given = await with_downloads(given, all_of_them=True)
            return await act(self._request(given), self._arguments())

    async def chat(self, request: Request, args: dict[str, Any]) -> Any:
        return await self._model.client.chat(request, **args)

    async def stream(self, request: Request, args: dict[str, Any]) -> Any:
        stream = self._model.client.stream(request, **args)
        return await stream.__aenter__()

    async def count(self, request: Request, args: dict[str, Any]) -> Any:
        return await self._model.client.count_tokens(request, **args)

    def _arguments(self) -> dict[str, Any]:
        return call_arguments(
            self._settings, self.parameters, self._model.resolved.protocol, self._model.system
        )

    def _request(self, messages: Sequence[ModelMessage]) -> Request:
        model, parameters = self._model, self.parameters
        history = History(messages, model._origin, model.system)
        system = "\n\n".join([*history.system, *instructions_of(model, messages, parameters)]) or None
        if system and not history.messages:  # an agent that is run without a prompt
            history.messages.append(Message.system(system))
            system = None
        return Request(
            tuple(history.messages),
            model._named,
            system=system,
            tools=self._tools(),
            tool_choice=tool_choice_of(self._settings, parameters),
            output=self._output(),
            extra=state_of(messages, model.system),
        )

    def _tools(self) -> tuple[Any, ...]:
        parameters, model = self.parameters, self._model
        own = [_tool(each) for each in parameters.declared_tool_defs.values()]
        return (*own, *hosted_tools(parameters.native_tools, model.resolved.protocol, model.system))

    def _output(self) -> Any:
        parameters = self.parameters
        if parameters.output_mode == "native" and parameters.output_object is not None:
            made = parameters.output_object
            schema, strict = made.json_schema, made.strict
            if strict is None and not is_open(schema):
                strict = True
            return JSONSchema(made.name or "final_result", schema, made.description, strict)
        if parameters.output_mode == "prompted" and self._model.profile.get("supports_json_object_output"):
            return "json"
        return None


def _tool(made: ToolDefinition) -> Tool:
    return Tool(made.name, made.description or "", made.parameters_json_schema, strict=made.strict)


def _one_span() -> AbstractContextManager[None]:
    """Within pydantic-ai's own span of a model's request, this library's telemetry makes none beside it."""
    attributes = getattr(trace.get_current_span(), "attributes", None)
    if not attributes or attributes.get("gen_ai.operation.name") != "chat":
        return nullcontext()
    from brainwires_provider._core.telemetry import suppressed

    return suppressed()
