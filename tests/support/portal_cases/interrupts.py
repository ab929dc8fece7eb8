"""Ctrl-C at every place where the caller can be."""

import threading
import time

from common import ask, client, interrupted, raises, run, until

from brainwires_provider import StreamInterrupted


def goes_on(c):
    """Its connection is gone, which the test has seen, and the next calls work."""
    ask("interrupted")
    assert c.chat("whole").text == "hello"
    with c.stream("words") as stream:
        assert stream.collect().text == "one two three "
    c.close()


def chat():
    c = client()
    interrupted(lambda: c.chat("stall"))
    goes_on(c)


def elsewhere():
    """The signal reaches another thread, so it does not end the wait; one that comes just before the wait neither."""
    c = client()
    interrupted(lambda: c.chat("stall"), here=True)
    goes_on(c)


def enter():
    c = client()
    interrupted(c.stream("stall").__enter__)
    goes_on(c)


def following():
    c = client()
    stream = c.stream("half")
    assert [type(next(stream)).__name__ for _ in range(3)] == ["ResponseStart", "PartStart", "TextDelta"]
    interrupted(lambda: list(stream))
    assert stream.partial.text == "one "
    assert list(stream) == []
    goes_on(c)


def body():
    c = client()

    def loop_body():
        time.sleep(60)

    def read():
        with c.stream("half") as stream:
            for _ in stream:
                loop_body()

    interrupted(read, inside="loop_body")
    goes_on(c)


def leaving():
    c = client()
    stream = c.stream("tail")
    events = []
    while type(events and events[-1]).__name__ != "ResponseEnd":
        events.append(next(stream))
    interrupted(stream.close)
    assert stream.response.text == "one two three "
    goes_on(c)


def cancels():
    """Leaving the wait cancels what was waited for."""
    told = []

    async def key():
        import asyncio

        told.append("asked")
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            told.append("cancelled")
            raise

    c = client(api_key=key)
    interrupted(lambda: c.chat("whole"))
    until(lambda: told == ["asked", "cancelled"], f"cancelled, but {told}")
    c.close()
    d = client()
    goes_on(d)


def closing():
    """The loop itself is held up by somebody's callable, so that `close` has to wait."""
    held, released = threading.Event(), threading.Event()

    async def key():
        held.set()
        assert released.wait(30)
        return "sk-test"

    c, d = client(api_key=key), client()
    d.chat("whole")
    other = threading.Thread(target=lambda: raises(StreamInterrupted, lambda: c.chat("stall")))
    other.start()
    held.wait(10)
    interrupted(c.close)
    released.set()  # and not before: `close` was left while it had to wait
    other.join(10)
    assert not other.is_alive()
    d.close()
    goes_on(client())


run(globals())
