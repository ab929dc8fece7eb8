"""Two functions that the model on this machine may call, and the loop that calls them."""

from brainwires_provider import Client, ToolEnd, tool


@tool
def weather(city: str) -> str:
    """The weather in a city."""
    return f"sunny in {city}"


@tool
def population(city: str) -> int:
    """How many people live in a city."""
    return {"Paris": 2_100_000, "Rome": 2_700_000}.get(city, 0)


def main() -> None:
    with Client("local:") as client:
        run = client.run(
            "What is the weather in Paris?",
            tools=[weather, population],
            tool_choice="required",
            max_steps=1,
            max_tokens=60,
        )
        for event in run:
            if isinstance(event, ToolEnd):
                print(f"{event.call.name}({event.call.arguments}) = {event.result.text}")
        print(run.why, "after", run.usage.output_tokens, "tokens")


if __name__ == "__main__":
    main()
