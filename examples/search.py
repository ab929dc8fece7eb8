"""Embeddings, and a search with them. A toy stands in for the service: its vectors count a few words."""

import json
import math

from brainwires_provider import Client
from brainwires_provider.testing import Answer, RecordedRequest, ScriptedServer

WORDS = ["train", "time", "leave", "noon", "bird", "heron", "water", "river"]
NOTES = [
    "The heron stands in the water.",
    "A train leaves at noon.",
    "Birds of the river.",
    "Trains and timetables.",
]


def service(request: RecordedRequest) -> Answer:
    texts = [text.lower() for text in request.json()["input"]]
    vectors = [[text.count(word) + 0.1 for word in WORDS] for text in texts]
    data = [{"index": index, "embedding": vector} for index, vector in enumerate(vectors)]
    return Answer(body=json.dumps({"data": data, "model": "toy", "usage": {"prompt_tokens": 1}}).encode())


def similarity(a: list[float], b: list[float]) -> float:
    return sum(map(float.__mul__, a, b)) / math.hypot(*a) / math.hypot(*b)


def main() -> None:
    with (
        ScriptedServer(service) as server,
        Client("openai-chat:toy", api_key="test", base_url=server.url) as client,
    ):
        notes = client.embed(NOTES).vectors
        (question,) = client.embed(["When do trains leave?"]).vectors
        ranked = sorted(zip(NOTES, notes, strict=True), key=lambda pair: -similarity(question, list(pair[1])))
        for note, vector in ranked:
            print(f"{similarity(question, list(vector)):.2f} {note}")


if __name__ == "__main__":
    main()
