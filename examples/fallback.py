"""Another server takes over when the first one fails."""

from brainwires_provider import Client, ProviderConfig, Retry
from brainwires_provider.testing import Failure, ScriptedServer, reply_answer


def main() -> None:
    busy = Failure("overloaded", "Come back later.", 503)
    with (
        ScriptedServer(lambda request: reply_answer(request, busy)) as first,
        ScriptedServer(lambda request: reply_answer(request, "Here I am.")) as second,
        Client(
            "openai-chat:m",
            api_key="test",
            base_url=first.url,
            providers=[ProviderConfig("anthropic", api_key="test", base_url=second.url)],
            retry=Retry(attempts=2, base=0.01),
            fallback=["anthropic:claude-sonnet-5"],
        ) as client,
    ):
        response = client.chat("Is anyone there?")
        print(response.provider, response.text)
        for attempt in response.attempts:
            print("before that:", attempt.model or "openai-chat:m", attempt.status, attempt.error)


if __name__ == "__main__":
    main()
