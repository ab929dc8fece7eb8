"""The interpreter exits, and nobody has closed anything."""

import atexit
import sys
import threading
import time

if sys.argv[1] == "early_hook":

    @atexit.register
    def ask_late():
        """Registered before the package is imported, so it runs last."""
        error = raises(ConfigError, lambda: kept.chat("whole"))
        assert "exiting" in str(error)
        raises(ConfigError, lambda: client().chat("whole"))
        raises(ConfigError, lambda: next(client().stream("words")))
        say("hook")


from common import client, raises, run, say, until

from brainwires_provider import ConfigError

kept = client()


def used():
    kept.chat("whole")


def streams():
    global held, reading
    held = kept.stream("half")
    next(held)
    reading = iter(kept.stream("half").text_stream())
    next(reading)


def blocked():
    """Daemon threads are still waiting: for an answer, for events, and in a key's callable."""

    def key():
        inside.set()
        time.sleep(60)

    def forever():
        raises(Exception, lambda: kept.chat("stall"))

    def following():
        raises(Exception, lambda: list(kept.stream("half")))

    def asking():
        raises(Exception, lambda: client(api_key=key).chat("whole"))

    inside = threading.Event()
    for act in (forever, following, asking):
        threading.Thread(target=act, daemon=True).start()
    inside.wait(10)


def stubborn():
    """A callable on the loop that takes no cancellation."""
    import asyncio

    async def key():
        while True:
            try:
                inside.set()
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                pass

    inside = threading.Event()
    other = client(api_key=key)
    threading.Thread(target=lambda: raises(Exception, lambda: other.chat("whole")), daemon=True).start()
    inside.wait(10)


def early_hook():
    kept.chat("whole")


def late_hook():
    """Registered after the import, so it runs first, and works, on a portal that it may have to start."""

    @atexit.register
    def ask():
        try:
            assert kept.chat("whole").text == "hello"
        except ConfigError as error:
            assert "exiting" in str(error)
        say("hook")


def thread_left():
    """A thread that is no daemon outlives the main one, and goes on; from 3.12 on none can be started by then."""

    def later():
        until(lambda: not threading.main_thread().is_alive(), "the main thread's end")
        assert kept.chat("whole").text == "hello"
        assert kept.stream("words").collect().text == "one two three "
        say("hook")

    kept.chat("whole")
    threading.Thread(target=later).start()


def dropped():
    global kept
    for _ in range(20):
        client().chat("whole")
    kept = None


run(globals())
