"""A scripted Ollama service: every operation that the `ollama` package and we know, on one small library of models."""

from __future__ import annotations

import json
from typing import Any

from brainwires_provider.testing import Answer, RecordedRequest

DETAILS = {
    "parent_model": "",
    "format": "gguf",
    "family": "llama",
    "families": ["llama"],
    "parameter_size": "3.2B",
    "quantization_level": "Q4_K_M",
}
MODEL = {
    "name": "llama3.2:3b",
    "model": "llama3.2:3b",
    "modified_at": "2026-11-20T10:00:00.123456789+02:00",
    "size": 2019393189,
    "digest": "a80c4f17acd55265feec403c7aef86be0c25983ab279d83f3bcd3abbcb5b8b72",
    "details": DETAILS,
}
CLOUD = {
    **MODEL,
    "name": "big",
    "model": "big",
    "remote_model": "big:120b",
    "remote_host": "https://ollama.com",
}
RUNNING = {
    **MODEL,
    "size": 3000000000,
    "size_vram": 1500000000,
    "expires_at": "2026-11-20T11:00:00Z",
    "context_length": 4096,
}
SHOWN = {
    "license": "MIT\nand more",
    "modelfile": "FROM x",
    "parameters": 'stop    "<|eot|>"\ntemperature 0.5',
    "template": "{{ .Prompt }}",
    "details": DETAILS,
    "model_info": {"general.architecture": "llama", "llama.context_length": 131072},
    "capabilities": ["completion", "tools"],
    "modified_at": "2026-11-20T10:00:00Z",
}
STEPS: list[dict[str, Any]] = [
    {"status": "pulling manifest"},
    {"status": "pulling aé", "digest": "sha256:a", "total": 10},
    {"status": "pulling aé", "digest": "sha256:a", "total": 10, "completed": 4},
    {"status": "pulling aé", "digest": "sha256:a", "total": 10, "completed": 10},
    {"status": "verifying sha256 digest"},
    {"status": "success"},
]
VECTORS = [[0.5, -0.25], [1.0, 0.0], [0.0, 1e-3]]
COUNTS = {
    "total_duration": 1200000000,
    "load_duration": 250000000,
    "prompt_eval_count": 11,
    "prompt_eval_duration": 30000000,
    "eval_count": 5,
    "eval_duration": 900000000,
}
ABSENT = "nowhere"


def lines(*objects: object) -> bytes:
    return b"".join(json.dumps(o, ensure_ascii=False).encode() + b"\n" for o in objects)


def streamed(*objects: object) -> Answer:
    return Answer(headers={"content-type": "application/x-ndjson"}, body=[lines(each) for each in objects])


def whole(value: object, status: int = 200) -> Answer:
    return Answer(status, {}, json.dumps(value).encode())


def service(request: RecordedRequest) -> Answer:
    """What the service answers."""
    asked = request.json() if request.body else {}
    name = asked.get("model") or asked.get("source")
    if name == ABSENT and request.path == "/api/pull":
        return streamed(STEPS[0], {"error": "pull model manifest: file does not exist"})
    if name == ABSENT:
        return whole({"error": f'model "{ABSENT}" not found'}, 404)
    match request.method, request.path:
        case "GET", "/api/tags":
            return whole({"models": [MODEL, CLOUD]})
        case "GET", "/api/ps":
            return whole({"models": [RUNNING]})
        case "GET", "/api/version":
            return whole({"version": "0.13.1"})
        case "POST", "/api/show":
            return whole(SHOWN)
        case ("POST", "/api/copy") | ("DELETE", "/api/delete"):
            return Answer(200, {}, b"")
        case "POST", "/api/pull" | "/api/push" | "/api/create":
            return streamed(*STEPS) if asked["stream"] else whole(STEPS[-1])
        case "POST", "/api/embed":
            inputs = asked["input"]
            count = 1 if isinstance(inputs, str) else len(inputs)
            return whole({"model": name, "embeddings": VECTORS[:count], **COUNTS})
        case "POST", "/api/generate":
            return _generated(asked)
    return Answer(404, {"content-type": "text/plain"}, b"404 page not found")


def _generated(asked: dict[str, Any]) -> Answer:
    told: dict[str, Any] = {"model": asked["model"], "created_at": "2026-11-20T10:00:00.5Z"}
    if not asked.get("prompt"):
        reason = "unload" if asked.get("keep_alive") == 0 else "load"
        return whole(
            {**told, "response": "", "done": True, "done_reason": reason, "load_duration": 250000000}
        )
    end = {"done": True, "done_reason": "stop", "context": [1, 2], **COUNTS}
    if not asked["stream"]:
        return whole({**told, "response": "Hé ☃", "thinking": "hm", **end})
    return streamed(
        {**told, "thinking": "hm", "response": "", "done": False},
        {**told, "response": "Hé", "done": False},
        {**told, "response": " ☃", "done": False},
        {**told, "response": "", **end},
    )
