"""Servers that speak Chat Completions: an honest one, and five that depart from it in ways that real ones do.

Each is a handler for a ScriptedServer. What a server answers follows from the request alone, so that every question of
the doctor gets the answer that such a server would give.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from brainwires_provider.testing import Answer, Close, Paced, RecordedRequest, Stall, Step, Wait

KEY = "planted-7f3a9c51e8d24b60"
MODEL = "parrot"
WORDS = [
    f"{word},"
    for word in [
        "one",
        "two",
        "three",
        "four",
        "five",
        "six",
        "seven",
        "eight",
        "nine",
        "ten",
        "eleven",
        "twelve",
    ]
] * 9
SHIPS = ["Aurora", "Borealis", "Caravel"]
Body = dict[str, Any]


class Refusal(Exception):
    """Ends a request with this status and body."""

    def __init__(self, status: int, body: Any) -> None:
        self.status, self.body = status, body


def openai_error(status: int, message: str, code: str | None = None) -> Refusal:
    kind = "invalid_request_error"
    return Refusal(status, {"error": {"message": message, "type": kind, "param": None, "code": code}})


class Honest:
    """Does what it is asked for, and only then."""

    every = 0.004  # seconds between two chunks
    content_type = "text/event-stream"

    def __call__(self, request: RecordedRequest) -> Answer:
        try:
            return self.answer(request)
        except Refusal as refusal:
            text = refusal.body if isinstance(refusal.body, bytes) else json.dumps(refusal.body).encode()
            kind = "application/json" if not isinstance(refusal.body, bytes) else "text/plain"
            return Answer(refusal.status, {"content-type": kind}, text)

    def answer(self, request: RecordedRequest) -> Answer:
        self.check_key(request)
        path = request.path.removeprefix("/v1")
        if not request.path.startswith("/v1/") or path not in ("/models", "/chat/completions"):
            raise openai_error(404, f"no route {request.path}")
        if path == "/models":
            return self.models()
        body = request.json()
        if not body["messages"]:
            raise openai_error(400, "messages is empty")
        self.check(body)
        return self.stream(body) if body.get("stream") else self.whole(body)

    def check_key(self, request: RecordedRequest) -> None:
        if request.header("authorization") != f"Bearer {KEY}":
            raise openai_error(401, "wrong key", "invalid_api_key")

    def models(self) -> Answer:
        listed = [{"id": "parrot-embed", "object": "model"}, {"id": MODEL, "object": "model"}]
        return Answer(body=json.dumps({"object": "list", "data": listed}).encode())

    def check(self, body: Body) -> None:
        """Raises what this server refuses."""
        if body["model"] != MODEL:
            raise openai_error(404, f"no model {body['model']}", "model_not_found")

    # -- what is said ----------------------------------------------------------------------------------------

    def limit(self, body: Body) -> int:
        return int(body.get("max_completion_tokens") or body.get("max_tokens") or 40)

    def heeds(self) -> tuple[str, ...]:
        """The roles whose words are heeded."""
        return ("system", "developer")

    def say(self, body: Body) -> str:
        """The text, before any limit."""
        first, last = body["messages"][0], body["messages"][-1]
        shape = (body.get("response_format") or {}).get("type")
        if shape == "json_schema":
            return '{"shade": "vermilion"}'
        if shape == "json_object":
            return '{"said": "hello"}'
        if "zebra" in first["content"]:
            return "Zebra." if first["role"] in self.heeds() else "Hello!"
        if isinstance(last["content"], list):
            return "Red."
        if "ship" in last["content"]:
            return SHIPS[self.seed(body) % 3]
        return " ".join(WORDS) if "Count" in last["content"] else "Hello to you."

    def seed(self, body: Body) -> int:
        return int(body.get("seed", 0))

    def stops(self, body: Body) -> list[str]:
        stop = body.get("stop") or []
        return [stop] if isinstance(stop, str) else stop

    def text(self, body: Body) -> tuple[list[str], str]:
        """The text as tokens, and how it ended."""
        text = self.say(body)
        ends = [at for stop in self.stops(body) if (at := text.find(stop)) >= 0]
        text = text[: min(ends)] if ends else text
        tokens = [token if n == 0 else f" {token}" for n, token in enumerate(text.split(" "))]
        limit = self.limit(body)
        return (tokens[:limit], "length") if len(tokens) > limit else (tokens, "stop")

    # -- calls -----------------------------------------------------------------------------------------------

    def calls(self, body: Body) -> list[tuple[str, str]]:
        """Names and arguments of what is called."""
        tools = [tool["function"]["name"] for tool in body.get("tools") or ()]
        if not tools:
            return []
        said, choice = body["messages"][-1]["content"], body.get("tool_choice", "auto")
        if isinstance(choice, dict):
            return [(choice["function"]["name"], '{"city": "Paris"}')]
        if choice == "auto" and "Call the tool" not in said and "Save" not in said:
            return []
        if tools[0] == "save_note":
            return [(tools[0], json.dumps({"text": said.partition(": ")[2]}))]
        cities = ["Paris", "Rome"] if "twice" in said else ["Paris"]
        return [(tools[0], json.dumps({"city": city})) for city in cities]

    # -- how it goes out -------------------------------------------------------------------------------------

    def message(self, body: Body) -> tuple[Body, str, int]:
        calls = self.calls(body)
        if not calls:
            tokens, reason = self.text(body)
            return {"role": "assistant", "content": "".join(tokens)}, reason, len(tokens)
        told = [
            {"id": f"call_{n}", "type": "function", "function": {"name": name, "arguments": arguments}}
            for n, (name, arguments) in enumerate(calls)
        ]
        return {"role": "assistant", "content": None, "tool_calls": told}, "tool_calls", 9

    def whole(self, body: Body) -> Answer:
        message, reason, count = self.message(body)
        choice = {"message": message, "finish_reason": reason}
        choices = [{"index": n, **choice} for n in range(self.count(body))]
        answer = {"id": "c1", "object": "chat.completion", "model": MODEL, "choices": choices}
        return Answer(body=json.dumps(answer | {"usage": usage(count)}).encode())

    def count(self, body: Body) -> int:
        return int(body.get("n", 1))

    def deltas(self, body: Body) -> Iterator[tuple[Body, str | None]]:
        calls = self.calls(body)
        tokens, reason = ([], "tool_calls") if calls else self.text(body)
        yield {"role": "assistant", "content": ""}, None
        for token in tokens:
            yield {"content": token}, None
        for n, (name, arguments) in enumerate(calls):
            for at, piece in enumerate(self.pieces(arguments)):
                call: Body = {"index": n, "function": {"arguments": piece}}
                if at == 0:
                    call |= {"id": f"call_{n}", "type": "function"}
                    call["function"]["name"] = name
                yield {"tool_calls": [call]}, None
        yield {}, reason

    def pieces(self, arguments: str) -> list[str]:
        return [arguments[at : at + 8] for at in range(0, len(arguments), 8)]

    def chunk(self, choices: list[Body], **more: Any) -> bytes:
        head = {"id": "c1", "object": "chat.completion.chunk", "model": MODEL}
        return b"data: " + json.dumps(head | {"choices": choices} | more).encode() + b"\n\n"

    def chunks(self, body: Body) -> list[bytes]:
        made = [
            self.chunk([{"index": 0, "delta": delta, "finish_reason": reason}])
            for delta, reason in self.deltas(body)
        ]
        if (body.get("stream_options") or {}).get("include_usage"):
            made.append(self.chunk([], usage=usage(len(made))))
        return [*made, b"data: [DONE]\n\n"]

    def stream(self, body: Body) -> Answer:
        return Answer(headers={"content-type": self.content_type}, body=self.steps(self.chunks(body)))

    def steps(self, chunks: list[bytes]) -> list[Step]:
        return [Paced(chunks, self.every)]


def usage(count: int) -> Body:
    return {"prompt_tokens": 5, "completion_tokens": count, "total_tokens": 5 + count}


class Careless(Honest):
    """Takes every field, and heeds few. Wants no key, and answers for any model."""

    def __init__(self) -> None:
        self._asked = 0

    def check_key(self, request: RecordedRequest) -> None:
        pass

    def check(self, body: Body) -> None:
        if not isinstance(body["messages"], list):
            raise Refusal(500, b"Internal Server Error")

    def limit(self, body: Body) -> int:
        return 40

    def heeds(self) -> tuple[str, ...]:
        return ("system",)

    def seed(self, body: Body) -> int:
        self._asked += 1
        return self._asked

    def stops(self, body: Body) -> list[str]:
        return []

    def count(self, body: Body) -> int:
        return 1

    def calls(self, body: Body) -> list[tuple[str, str]]:
        free = {name: value for name, value in body.items() if name != "tool_choice"}
        return super().calls(free)

    def chunks(self, body: Body) -> list[bytes]:
        return super().chunks(body | {"stream_options": None})


class Strict(Honest):
    """Refuses what it does not know, as FastAPI's validation does, and lists no models."""

    unknown = ("max_completion_tokens", "stream_options", "n", "seed", "parallel_tool_calls")

    def models(self) -> Answer:
        raise Refusal(404, {"detail": "Not Found"})

    def check(self, body: Body) -> None:
        faults = [(name, "Extra inputs are not permitted") for name in self.unknown if name in body]
        if isinstance(body.get("stop"), str):
            faults.append(("stop", "Input should be a valid list"))
        if body.get("tool_choice") == "required" or isinstance(body.get("tool_choice"), dict):
            faults.append(("tool_choice", "Input should be 'auto', 'none' or 'any'"))
        if (body.get("response_format") or {}).get("type") == "json_schema":
            faults.append(("response_format", "Input should be 'text' or 'json_object'"))
        for message in body["messages"]:
            if message["role"] == "developer":
                faults.append(("role", "Input should be 'system', 'user' or 'assistant'"))
            if not isinstance(message["content"], str):
                faults.append(("content", "Input should be a valid string"))
        if faults:
            told = [{"loc": ["body", name], "msg": words, "type": "x"} for name, words in faults]
            raise Refusal(422, {"detail": told})
        super().check(body)


class Buffered(Honest):
    """Says that it streams, and sends all at once at the end, as what it is not, without its end. One call at most."""

    content_type = "application/octet-stream"

    def calls(self, body: Body) -> list[tuple[str, str]]:
        return super().calls(body)[:1]

    def pieces(self, arguments: str) -> list[str]:
        return [arguments]

    def chunk(self, choices: list[Body], **more: Any) -> bytes:
        return super().chunk(choices, **more).replace(b'"chat.completion.chunk"', b'"chat.completion"')

    def chunks(self, body: Body) -> list[bytes]:
        made = [chunk for chunk in super().chunks(body)[:-1] if b'"usage"' not in chunk]
        return [*made[:-1], made[-1].replace(b'"choices"', b'"usage": {"total_tokens": 9}, "choices"')]

    def steps(self, chunks: list[bytes]) -> list[Step]:
        return [Wait(0.3), b"".join(chunks)]


class Talker(Honest):
    """Thinks aloud in the text, knows neither shapes nor tools nor streams, and repeats the key in its errors."""

    def check_key(self, request: RecordedRequest) -> None:
        if request.header("authorization") != f"Bearer {KEY}":
            raise Refusal(403, b"who are you?")
        if request.path not in ("/v1/models", "/v1/chat/completions"):
            raise Refusal(500, b"x" * 110 + request.header("authorization").encode())  # type: ignore[union-attr]

    def check(self, body: Body) -> None:
        if body["model"] != MODEL or "n" in body or "seed" in body:
            raise Refusal(400, {"message": f"not for {KEY}: {sorted(body)}"})

    def say(self, body: Body) -> str:
        plain = {name: value for name, value in body.items() if name != "response_format"}
        if body.get("tools"):
            return '<think>Well.</think> {"name": "get_weather", "arguments": {"city": "Paris"}}'
        return f"<think>Well.</think> {super().say(plain)}"

    def calls(self, body: Body) -> list[tuple[str, str]]:
        return []

    def stream(self, body: Body) -> Answer:
        return self.whole(body)


class Broken(Honest):
    """Hangs when it sees tools, cuts its streams, redirects, and has a page for everything that it does not know."""

    page = Answer(200, {"content-type": "text/html"}, b"<!doctype html><title>Welcome</title>")

    def answer(self, request: RecordedRequest) -> Answer:
        if request.path == "/v1/responses":
            return Answer(302, {"location": "http://elsewhere.example/login?next=x"})
        if request.path not in ("/v1/models", "/v1/chat/completions"):
            return self.page
        return super().answer(request)

    def models(self) -> Answer:
        return self.page

    def check(self, body: Body) -> None:
        if body["model"] != "default":
            raise Refusal(503, {"error": "busy"})

    def whole(self, body: Body) -> Answer:
        if "tools" in body and "tool_choice" not in body and "parallel_tool_calls" not in body:
            return Answer(stall_before_headers=True)
        if "response_format" in body:
            return Answer(200, {}, b'{"id": "c1", "choices": [{"mess')
        return super().whole(body)

    def steps(self, chunks: list[bytes]) -> list[Step]:
        return [*chunks[:4], Close()]


class Endless(Honest):
    """Sends chunks, and then nothing more, for ever."""

    def steps(self, chunks: list[bytes]) -> list[Step]:
        return [*chunks[:3], Stall()]


class Awkward(Honest):
    """Answers beside the point, by what is asked: what a doctor may meet and must not take for more than it is."""

    def check(self, body: Body) -> None:
        if body.get("n"):
            raise openai_error(429, "slow down")
        if body.get("stop"):
            raise openai_error(401, "the key has just expired")
        if "seed" in body and body["seed"] == 8:
            raise openai_error(500, "out of luck")
        if body.get("max_completion_tokens", 100) < 100:
            raise openai_error(
                400, "the model output limit was reached. Please try again with higher max_tokens"
            )
        super().check(body)

    def say(self, body: Body) -> str:
        if "Count" in body["messages"][-1]["content"] and not body.get("stream"):
            return "No."
        if body.get("response_format"):
            return '{"shade": "pink"}' if body["response_format"]["type"] == "json_schema" else "{"
        return " ".join(WORDS) if "Write" in str(body["messages"]) else "No."

    def calls(self, body: Body) -> list[tuple[str, str]]:
        choice = body.get("tool_choice")
        if isinstance(choice, dict):
            return [("get_weather", "{}")]
        return [(name, "{not json") for name, _ in super().calls(body)]

    def deltas(self, body: Body) -> Iterator[tuple[Body, str | None]]:
        if "tools" in body:
            yield {"role": "assistant", "content": "Saved."}, "stop"
        else:
            yield {"content": "Once upon a time, and so on"}, None
            yield {}, "stop"
