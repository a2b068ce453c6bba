"""utils.console, in processes whose streams are narrow, closed or full."""

from __future__ import annotations

import io
import os
import subprocess
import sys

import cv2
import pytest
from conftest import REPO, noise

from utils.console import Forgiving, say, silenced_libraries

SAYING = r"""
import sys
from utils.console import say
for number in range(20_000):
    say(f"{number} gr\xf6\xdfe \udcff \u65e5\u672c")
say("told", sys.stderr)
sys.exit(7)
"""
ERROR = "told\n"


def python(program, *arguments, env=(), **streams):
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **streams}
    command = [sys.executable, "-c", program, *map(str, arguments)]
    return subprocess.Popen(command, cwd=REPO, env={**os.environ, **dict(env)}, **streams)


@pytest.mark.parametrize("encoding, shown", [
    ("ascii", r"19999 gr\xf6\xdfe \udcff \u65e5\u672c"),
    ("cp1252", r"19999 größe \udcff \u65e5\u672c"),
    ("utf-8", r"19999 größe \udcff 日本"),
])  # fmt: skip
def test_what_cannot_be_encoded_is_escaped(encoding, shown):
    out, error = python(SAYING, env={"PYTHONIOENCODING": encoding}.items()).communicate()
    assert out.decode(encoding).splitlines()[-1] == shown
    assert error.decode() == ERROR


def test_a_c_locale_and_its_escapes():
    settings = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    process = python(SAYING, env=settings.items())
    out, error = process.communicate()
    assert (process.returncode, error.decode()) == (7, ERROR)
    assert out.count(b"\n") == 20_000


def test_a_closed_pipe_does_not_decide():
    process = python(SAYING)
    assert process.stdout.read(100)
    process.stdout.close()
    assert process.stderr.read().decode() == ERROR
    assert process.wait() == 7
    process.stderr.close()


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no full device")
@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_full_device_does_not_decide(stream):
    with open("/dev/full", "wb") as full:
        process = python(SAYING, **{stream: full})
        _, error = process.communicate()
    assert process.returncode == 7
    assert error is None or error.decode() == ERROR


@pytest.mark.skipif(os.name != "posix", reason="a Unix shell closes the stream")
def test_a_missing_stream_does_not_decide():
    command = ["sh", "-c", 'exec "$@" >&-', "sh", sys.executable, "-c", SAYING]
    done = subprocess.run(command, cwd=REPO, capture_output=True)
    assert (done.returncode, done.stderr.decode()) == (7, ERROR)


def test_progress_goes_on_after_its_stream_is_closed():
    stream = io.StringIO()
    forgiving = Forgiving(stream)
    assert forgiving.write("a") == 1 and stream.getvalue() == "a" and not forgiving.isatty()
    stream.close()
    assert forgiving.write("bc") == 2 and not forgiving.isatty()
    say("nothing", stream)


NOISY = """
import logging, os, sys
from contextlib import suppress
from utils.console import say, silenced_libraries
from utils.errors import InputError
from utils.image import read_image, silence_opencv
silence_opencv()
os.write(2, b"before\\n")
with silenced_libraries():
    logging.basicConfig(format="%(message)s")
    os.write(2, b"a C library\\n")
    with suppress(InputError):  # some releases of OpenCV refuse it
        read_image(sys.argv[1])
    logging.getLogger("x").warning("ours")
    say("größe", sys.stderr)
os.write(2, b"after\\n")
say("told", sys.stderr)
logging.getLogger("x").warning("still ours")
"""


def test_only_our_lines_are_shown(tmp_path):
    """Among those that are not, libjpeg's over a picture whose end is missing."""
    content = cv2.imencode(".jpg", noise())[1].tobytes()
    (tmp_path / "cut.jpg").write_bytes(content[: len(content) // 2])
    process = python(NOISY, tmp_path / "cut.jpg", env={"PYTHONIOENCODING": "utf-8"}.items())
    _, error = process.communicate()
    shown = ["before", "ours", "größe", "after", "told", "still ours"]
    assert error.decode().splitlines() == shown


def test_an_error_brings_stderr_back(capfd):
    before = sys.stderr
    with pytest.raises(KeyError), silenced_libraries():
        os.write(2, b"hidden")
        raise KeyError
    os.write(2, b"shown")
    assert capfd.readouterr().err == "shown" and sys.stderr is before


def test_no_descriptor_is_left():
    count = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    for _ in range(5):
        with silenced_libraries():
            pass
    assert not count or len(os.listdir("/proc/self/fd")) == count
