"""A conversation at the terminal with the model on this machine. Ctrl-D ends it."""

import sys

from brainwires_provider import Client


def main() -> None:
    with Client("local:") as client:
        talk = client.conversation(
            system="You are a friendly assistant. Answer in one sentence.", max_tokens=60
        )
        print("Say something; Ctrl-D ends the conversation.")
        for line in sys.stdin:
            if not line.strip():
                continue
            with talk.stream(line.strip()) as stream:
                for text in stream.text_stream():
                    print(text, end="", flush=True)
            print()


if __name__ == "__main__":
    main()
