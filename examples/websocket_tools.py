"""A tool loop over the Responses API's WebSocket, against a scripted service with the rules of the real one."""

from brainwires_provider import Client, tool
from brainwires_provider.testing import ResponsesService, ScriptedSocket, assistant, function_call


@tool
def double(number: int) -> int:
    """Twice a number."""
    return number * 2


def model(conversation, body):
    """It calls the tool five times, and then says what the last result was."""
    results = [item["output"] for item in conversation if item.get("type") == "function_call_output"]
    if len(results) == 5:
        return [assistant(f"It is {results[-1]}.")]
    return [function_call("double", f'{{"number": {results[-1] if results else 1}}}')]


def main() -> None:
    with (
        ScriptedSocket(ResponsesService(model)) as server,
        Client("openai-responses-ws:m", api_key="test", base_url=server.url) as client,
    ):
        run = client.run("Double 1 five times.", tools=[double])
        print(run.result().text)
        stats = client.responses.websocket_stats
        print(f"whole histories sent: {stats.full}; only what is new: {stats.incremental}")


if __name__ == "__main__":
    main()
