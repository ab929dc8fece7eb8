"""A fork after use, with a stream open."""

import gc
import os
import sys
import time
import traceback
import warnings

from common import ask, client, raises, run

from brainwires_provider import ConfigError


def fork():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # 3.12 and later: there is a second thread
        return os.fork()


def wait_for(child):
    end = time.monotonic() + 10
    while True:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            return os.waitstatus_to_exitcode(status)
        assert time.monotonic() < end, "the child hangs"
        time.sleep(0.01)


def stream_open():
    c = client()
    assert c.chat("whole").text == "hello"
    stream, waiting = c.stream("gated"), c.stream("words")
    first = next(stream)
    next(waiting)
    child = fork()
    if child == 0:
        try:
            assert "parent" in str(raises(ConfigError, lambda: next(stream)))
            assert "parent" in str(raises(ConfigError, lambda: list(waiting)))
            with client() as own:
                assert own.chat("whole").text == "hello"
            assert c.chat("whole").text == "hello"
            assert c.stream("words").collect().text == "one two three "
            stream.close()
            del stream, waiting
            c.close()
            del c
            gc.collect()
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        sys.exit(0)
    assert wait_for(child) == 0
    ask("open")
    assert [first, *stream][-1] is not None
    assert stream.response.text == "one two three "
    assert waiting.collect().text == "one two three "
    assert c.chat("whole").text == "hello"
    c.close()


def left_alone():
    """The child does nothing but exit, with all it has inherited."""
    c = client()
    stream = c.stream("gated")
    next(stream)
    child = fork()
    if child == 0:
        sys.exit(0)
    assert wait_for(child) == 0
    ask("open")
    assert stream.collect().text == "one two three "
    c.close()


run(globals())
