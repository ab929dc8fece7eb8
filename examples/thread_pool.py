"""One client in many threads: 200 requests, 20 at once, against a scripted server."""

import time
from concurrent.futures import ThreadPoolExecutor

from brainwires_provider import Client
from brainwires_provider.testing import ScriptedServer, reply_answer


def main() -> None:
    questions = [f"What is {n} times 2?" for n in range(200)]
    with ScriptedServer(lambda request: reply_answer(request, "An even number.")) as server:
        with (
            Client("openai-chat:m", api_key="test", base_url=server.url) as client,
            ThreadPoolExecutor(20) as pool,
        ):
            begun = time.perf_counter()
            responses = list(pool.map(client.chat, questions))
            seconds = time.perf_counter() - begun
        tokens = sum(response.usage.output_tokens or 0 for response in responses)
        print(f"{len(responses)} answers, {tokens} tokens, {server.connections} connections, {seconds:.1f} s")


if __name__ == "__main__":
    main()
