"""Threads, and the ends of streams and clients."""

import gc
import os
import signal
import sys
import threading
import time

from common import PROMPT, ask, client, main_is_in, raises, run, threads_are, until

from brainwires_provider import ConfigError, ProviderError, StreamInterrupted


def fifty_threads():
    """One client: one thread more. Closed while they wait: each gets a typed error with what had arrived."""
    before = threading.active_count()
    c = client()
    errors, partials = [], []
    read = threading.Barrier(51)

    def follow():
        stream = c.stream("half")
        for _ in range(3):
            next(stream)
        read.wait(10)
        errors.append(raises(ProviderError, lambda: list(stream)))
        partials.append(stream.partial.text)

    threads = [threading.Thread(target=follow) for _ in range(50)]
    for thread in threads:
        thread.start()
    read.wait(10)
    threads_are(before + 50 + 1)
    c.close()
    for thread in threads:
        thread.join(10)
    assert len(errors) == 50 and {type(error) for error in errors} == {StreamInterrupted}
    assert partials == ["one "] * 50
    assert "closed" in str(raises(ConfigError, lambda: c.chat("whole")))
    assert "closed" in str(raises(ConfigError, lambda: c.stream("words")))
    c.close()
    threads_are(before)


def fifty_clients():
    before = threading.active_count()
    clients = [client() for _ in range(50)]
    for c in clients:
        assert c.chat("whole").text == "hello"
    threads_are(before + 1)
    for c in clients[:49]:
        c.close()
    assert clients[49].chat("whole").text == "hello"
    threads_are(before + 1)
    clients[49].close()
    assert threading.active_count() == before
    with client() as again:
        assert again.chat("whole").text == "hello"
        threads_are(before + 1)
    assert threading.active_count() == before


def racing():
    """Clients that come and go on many threads: each call works, and at the end no thread is left."""
    before = threading.active_count()
    failed = []

    def churn():
        try:
            for _ in range(20):
                with client() as c:
                    assert c.chat("whole").text == "hello"
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=churn) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert not failed, failed
    threads_are(before)


def closed_meanwhile():
    c = client()
    errors = []
    threads = [
        threading.Thread(target=lambda: errors.append(raises(ProviderError, lambda: c.chat("stall"))))
        for _ in range(5)
    ]
    for thread in threads:
        thread.start()
    ask("stalled")
    begun = time.monotonic()
    c.close()
    for thread in threads:
        thread.join(10)
    assert time.monotonic() - begun < PROMPT  # the server answers none of them
    assert len(errors) == 5 and {type(error) for error in errors} == {StreamInterrupted}
    assert not any(error.retryable for error in errors)


def stream_dropped():
    told = []
    sys.unraisablehook = lambda what: told.append(str(what.exc_value))
    c = client()
    stream = c.stream("half")
    line = sys._getframe().f_lineno - 1
    next(stream)
    del stream
    gc.collect()
    assert len(told) == 1 and f"{__file__}:{line} " in told[0], told
    ask("dropped")
    for leave in (lambda s: s.close(), list, lambda s: s.collect(), lambda s: s.__exit__(None, None, None)):
        stream = c.stream("words")
        next(stream)
        leave(stream)
        del stream
    c.stream("words")
    gc.collect()
    assert len(told) == 1, told
    c.close()


def client_dropped():
    """Without a word: its connections and the thread go."""
    before = threading.active_count()
    c = client()
    c.chat("whole")
    stream = c.stream("gated")
    next(stream)
    del c
    gc.collect()
    ask("open")
    assert stream.collect().text == "one two three "
    del stream
    gc.collect()
    threads_are(before)
    ask("dropped")


def handler():
    """A signal handler that itself makes a call, while the main thread waits in one."""
    c = client()
    texts = []
    signal.signal(signal.SIGUSR1, lambda *_: texts.append(c.chat("whole").text))
    stream = c.stream("gated")
    next(stream)

    def press():
        until(lambda: main_is_in("doze"), "the main thread waiting")
        os.kill(os.getpid(), signal.SIGUSR1)
        until(lambda: texts, "the handler's answer")
        ask("open")

    presser = threading.Thread(target=press)
    presser.start()
    assert stream.collect().text == "one two three "
    assert texts == ["hello"]
    presser.join()
    c.close()


def memory():
    """100 MB, and a consumer that sleeps: the reading stops."""

    def resident():
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    c = client()
    c.stream("words").collect()
    before = resident()
    with c.stream("big") as stream:
        next(stream)
        time.sleep(1.5)
        grown = resident() - before
        assert grown < 20_000_000, grown
        ask("slept")
        assert sum(map(len, stream.text_stream())) == 1600 * 65_536 + len("two three ")
    c.close()


run(globals())
