"""The user's own callables, which run on the portal's loop or beside it."""

import asyncio
import contextvars
import threading
import traceback

from common import ask, client, raises, run


def fatal(kind):
    """It reaches the caller as the very object; a stream in another thread goes on to its end."""
    error = kind("mine")

    async def key():
        await asyncio.sleep(0)
        raise error

    c, other = client(api_key=key), client()
    with other.stream("gated") as stream:
        texts = []
        thread = threading.Thread(target=lambda: texts.extend(stream.text_stream()))
        thread.start()
        for _ in range(3):
            assert raises(kind, lambda: c.chat("whole")) is error
            assert raises(kind, lambda: list(c.stream("words"))) is error
        ask("open")
        thread.join(10)
        assert "".join(texts) == "one two three "
    assert other.chat("whole").text == "hello"
    c.close()
    other.close()


def system_exit():
    fatal(SystemExit)


def keyboard_interrupt():
    fatal(KeyboardInterrupt)


def thread_exit():
    """The same from a synchronous callable, which runs in a thread."""

    def key():
        raise SystemExit(3)

    c = client(api_key=key)
    assert raises(SystemExit, lambda: c.chat("whole")).code == 3
    c.close()


def own_thread():
    """Waiting for the loop on the loop could never end."""
    found = []

    async def key():
        found.append(raises(RuntimeError, lambda: c.chat("whole")))
        found.append(raises(RuntimeError, lambda: next(c.stream("words"))))
        found.append(raises(RuntimeError, c.close))
        found.append(raises(RuntimeError, lambda: client().chat("whole")))
        return "sk-test"

    c = client(api_key=key)
    assert c.chat("whole").text == "hello"
    assert len(found) == 4 and all("AsyncClient" in str(error) for error in found)
    c.close()


def beside():
    """A synchronous callable may block, and may use a client: the loop is not held up."""
    where = []
    all_inside = threading.Barrier(5, timeout=10)

    def key():
        where.append(threading.current_thread().name)
        all_inside.wait()
        return helper.chat("whole").text

    helper, c = client(), client(api_key=key)
    threads = [threading.Thread(target=c.chat, args=("whole",)) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert len(where) == 5 and "brainwires-portal" not in where
    c.close()
    helper.close()


def running_loop():
    async def main():
        asyncio.get_running_loop().slow_callback_duration = 60  # the caller's loop is blocked, as it asks for
        with client() as c:
            first = c.chat("whole").text
            with c.stream("words") as stream:
                return first, "".join(stream.text_stream())

    assert asyncio.run(main()) == ("hello", "one two three ")


def context():
    who = contextvars.ContextVar("who", default="nobody")
    seen = []

    def plain():
        seen.append(who.get())
        return "sk-test"

    async def later():
        return plain()

    for key in (plain, later):
        with client(api_key=key) as c:
            who.set(f"{key.__name__} chat")
            c.chat("whole")
            who.set(f"{key.__name__} stream")
            c.stream("words").collect()
    assert seen == ["plain chat", "plain stream", "later chat", "later stream"]


def tracebacks():
    """The user's line, at most five of ours, a callable's own lines; and nothing of the exchange is kept alive."""
    import gc
    import os

    import brainwires_provider
    from brainwires_provider.errors import ServerError, StreamInterrupted, UnsupportedError

    here = os.path.dirname(__file__)
    ours = os.path.dirname(brainwires_provider.__file__)

    def lines(error):
        frames = traceback.extract_tb(error.__traceback__)
        inside = [frame for frame in frames if frame.filename.startswith(ours)]
        mine = [frame.name for frame in frames if frame.filename.startswith(here)]
        assert len(inside) <= 5, inside
        assert len(inside) + len(mine) == len(frames), frames
        return mine

    def refuse():
        raise ValueError("no key today")

    async def refuse_later():
        refuse()

    def whole_chat():
        c.chat("fail")

    def whole_stream():
        list(c.stream("cut"))

    def unsaid():
        c.chat("whole", strict=True, top_k=3)

    def unsaid_stream():
        c.stream("whole", strict=True, top_k=3)

    def unsaid_prepare():
        c.prepare("whole", strict=True, top_k=3)

    c = client()
    caught = []
    for kind, act in (
        (ServerError, whole_chat),
        (StreamInterrupted, whole_stream),
        (UnsupportedError, unsaid),
        (UnsupportedError, unsaid_stream),
        (UnsupportedError, unsaid_prepare),
    ):
        caught.append(raises(kind, act))
        assert lines(caught[-1]) == ["raises", act.__name__]
    gc.collect()
    alive = {type(thing).__name__ for thing in gc.get_objects()}
    kept = alive & {"ClientResponse", "HTTPExchange", "Flight", "Outgoing", "Plan", "AsyncStream"}
    assert not kept, kept
    c.close()
    for key in (refuse, refuse_later):
        c = client(api_key=key)
        assert lines(raises(ValueError, lambda: c.chat("whole")))[-1] == "refuse"
        c.close()


run(globals())
