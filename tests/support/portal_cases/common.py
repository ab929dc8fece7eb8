"""What the portal's cases share. Each case is a process of its own, talking to a server in the test's process."""

import gc
import os
import signal
import sys
import threading
import time
from collections.abc import Callable

from brainwires_provider import Client

URL = sys.argv[2]
MAIN = threading.main_thread().ident
PROMPT = 10.0  # seconds: a hang's end; what the cases wait for takes a minute, or has no end

signal.signal(
    signal.SIGINT, signal.default_int_handler
)  # a test run may have inherited an ignored SIGINT (ctrl_c.py)


def client(**settings: object) -> Client:
    settings.setdefault("api_key", "sk-test")
    return Client("openai-chat:m", base_url=URL, **settings)  # type: ignore[arg-type]


def say(word: str) -> None:
    print(word, flush=True)


def ask(word: str) -> None:
    """Say it, and wait until the test has done its part."""
    say(word)
    assert sys.stdin.readline() == "go\n"


def until(condition: Callable[[], object], what: str, seconds: float = PROMPT) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"in vain: {what}"
        time.sleep(0.005)


def threads_are(count: int) -> None:
    until(lambda: threading.active_count() == count, f"{count} threads, not {threading.enumerate()}")


def main_is_in(*functions: str) -> bool:
    frame = sys._current_frames()[MAIN]  # type: ignore[index]
    return frame.f_code.co_name in functions


def interrupted(act: Callable[[], object], *, inside: str = "doze", here: bool = False) -> None:
    """Ctrl-C once the main thread is in that function; KeyboardInterrupt comes while `act` still has much to wait for.

    The signal is sent to the process, or with `here` to the thread that sends it. What `act` waits for never comes, or
    not before PROMPT seconds have passed by far: within them a loaded machine gets to raise it.
    """
    sent = 0.0

    def press() -> None:
        nonlocal sent
        until(lambda: main_is_in(inside), f"the main thread in {inside}")
        time.sleep(0.05)  # from the call into the wait itself
        sent = time.monotonic()
        if here:
            signal.pthread_kill(threading.get_ident(), signal.SIGINT)
        else:
            os.kill(os.getpid(), signal.SIGINT)

    presser = threading.Thread(target=press)
    presser.start()
    try:
        act()
    except KeyboardInterrupt:
        took = time.monotonic() - sent
        assert took < PROMPT, f"after {took} s"
    else:
        raise AssertionError("no KeyboardInterrupt")
    presser.join()


def raises(kind: type[BaseException], act: Callable[[], object]) -> BaseException:
    try:
        act()
    except kind as error:
        return error
    raise AssertionError(f"no {kind.__name__}")


def run(cases: dict[str, object]) -> None:
    case = cases[sys.argv[1]]
    assert callable(case)
    case()
    gc.collect()
    say("ok")
