"""Results that are not kept: windows, virtual cameras, avatars."""

from __future__ import annotations

import logging
import sys
import threading
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from bfm.sliders import SHAPES
from reenactment import live
from reenactment.clip import Clip
from reenactment.live import Avatar, Paced, VirtualCamera, Window, parse_place, quaternion
from utils.errors import UsageError
from utils.footage import Frame

PICTURE = np.full((48, 64, 3), 90, np.uint8)


@pytest.fixture
def receiver():
    """A place that avatars listen at, and what they have heard."""
    osc = pytest.importorskip("pythonosc.osc_server", reason="python-osc is not installed")
    from pythonosc.dispatcher import Dispatcher

    heard, dispatcher = [], Dispatcher()
    dispatcher.set_default_handler(lambda address, *values: heard.append((address, values)))
    server = osc.BlockingOSCUDPServer(("127.0.0.1", 0), dispatcher)
    listening = threading.Thread(target=server.serve_forever, daemon=True)
    listening.start()
    yield str(server.server_address[1]), heard
    server.shutdown()
    server.server_close()


def test_an_avatar_hears_weights_and_the_heads_turn(receiver):
    port, heard = receiver
    weights = {shape: number / 100 for number, shape in enumerate(SHAPES)}
    face = {"weights": weights, "head": {"yaw": 30.0, "pitch": -10.0, "roll": 5.0}}
    avatar = Avatar(port)
    avatar.write([face], Frame(PICTURE, 0, 0.0))
    avatar.write([], Frame(PICTURE, 1, 0.04))
    avatar.close()
    for _ in range(200):
        if heard and heard[-1][0] == "/VMC/Ext/Blend/Apply":
            break
        threading.Event().wait(0.01)
    said = {values[0]: values[1] for address, values in heard if address == "/VMC/Ext/Blend/Val"}
    assert said == pytest.approx(weights, abs=1e-6)
    (head,) = (values for address, values in heard if address == "/VMC/Ext/Bone/Pos")
    assert head[0] == "Head"
    assert np.linalg.norm(head[4:]) == pytest.approx(1)
    assert [address for address, _ in heard].count("/VMC/Ext/Blend/Apply") == 1


def test_files_are_sent_at_their_own_pace(monkeypatch):
    """Each frame when it is due; one that is late does not wait."""
    clock, sent = [100.0], []

    def sleep(seconds):
        clock[0] += seconds

    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    monkeypatch.setattr("time.sleep", sleep)
    part = SimpleNamespace(write=lambda *_: sent.append(clock[0]), close=lambda: sent.append(None))
    paced = Paced(part)
    for number, work in enumerate((0.0, 0.01, 0.3, 0.01)):
        clock[0] += work
        paced.write(None, Frame(PICTURE, number, number / 10))
    paced.close()
    assert sent == [pytest.approx(moment) for moment in (100.0, 100.1, 100.4, 100.41)] + [None]


@pytest.mark.parametrize("angles", [(0, 0, 0), (40, 0, 0), (0, -25, 0), (0, 0, 60), (35, -20, 15)])
def test_a_quaternion_turns_as_its_angles_tell(angles):
    x, y, z, w = quaternion(*angles)
    turn = np.array([
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ])
    yaw, pitch, roll = np.radians(angles)
    about_y = [[np.cos(yaw), 0, np.sin(yaw)], [0, 1, 0], [-np.sin(yaw), 0, np.cos(yaw)]]
    about_x = [[1, 0, 0], [0, np.cos(pitch), -np.sin(pitch)], [0, np.sin(pitch), np.cos(pitch)]]
    about_z = [[np.cos(roll), -np.sin(roll), 0], [np.sin(roll), np.cos(roll), 0], [0, 0, 1]]
    np.testing.assert_allclose(turn, np.array(about_y) @ about_x @ about_z, atol=1e-9)


@pytest.mark.parametrize(("text", "place"), [
    ("39539", ("127.0.0.1", 39539)), ("10.0.0.2:9000", ("10.0.0.2", 9000)),
])
def test_places(text, place):
    assert parse_place(text) == place


@pytest.mark.parametrize("text", ["", "host", "host:", "host:0", "host:70000", ":x"])
def test_places_that_cannot_be(text):
    with pytest.raises(UsageError, match="HOST:PORT"):
        parse_place(text)


def test_a_virtual_camera_gets_the_pictures(monkeypatch):
    sent = []

    class Camera:
        def __init__(self, width, height, fps, fmt):
            sent.append((width, height, fps, fmt))

        def send(self, picture):
            sent.append(picture.copy())

        def close(self):
            sent.append("closed")

    module = SimpleNamespace(Camera=Camera, PixelFormat=SimpleNamespace(BGR="BGR"))
    monkeypatch.setitem(sys.modules, "pyvirtualcam", module)
    camera = VirtualCamera(25.0)
    camera.write(PICTURE, Frame(PICTURE, 0, 0.0))
    camera.close()
    assert sent[0] == (64, 48, 25.0, "BGR")
    np.testing.assert_array_equal(sent[1], PICTURE)
    assert sent[2] == "closed"


def test_a_virtual_camera_without_a_device_says_why(monkeypatch):
    def none(*_, **__):
        raise RuntimeError("no device\nfound")

    module = SimpleNamespace(Camera=none, PixelFormat=SimpleNamespace(BGR="BGR"))
    monkeypatch.setitem(sys.modules, "pyvirtualcam", module)
    with pytest.raises(UsageError, match="--virtual_camera: no device found"):
        VirtualCamera(25.0).write(PICTURE, Frame(PICTURE, 0, 0.0))


@pytest.mark.parametrize(("name", "make"), [
    ("pythonosc", lambda: Avatar("39539")), ("pyvirtualcam", lambda: VirtualCamera(25.0)),
])
def test_packages_that_are_missing_are_named(monkeypatch, name, make):
    monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, f"{name}.udp_client", None)
    with pytest.raises(UsageError, match="pip install py"):
        make()


def test_a_window_tells_ages_and_stops_at_q(monkeypatch):
    shown = []
    monkeypatch.setattr(live, "can_show", lambda: True)
    monkeypatch.setattr(cv2, "imshow", lambda title, picture: shown.append(picture))
    monkeypatch.setattr(cv2, "waitKey", lambda _: ord("q") if len(shown) > 1 else -1)
    monkeypatch.setattr(cv2, "destroyWindow", lambda _: None)
    window = Window("3d", lambda: 0.123)
    window.write(PICTURE, Frame(PICTURE, 0, 0.0))
    assert (shown[0] != PICTURE).any()  # the age is written on it
    with pytest.raises(KeyboardInterrupt):
        window.write(PICTURE, Frame(PICTURE, 1, 0.04))
    window.close()


def test_without_a_display_a_window_warns_once(monkeypatch, caplog):
    def fails():
        raise cv2.error("no GUI")

    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setattr(cv2, "destroyAllWindows", fails)
    with caplog.at_level(logging.WARNING):
        window = Window("3d", None)
        window.write(PICTURE, Frame(PICTURE, 0, 0.0))
        window.write(PICTURE, Frame(PICTURE, 1, 0.04))
    window.close()
    assert len(caplog.records) == 1
    assert "opencv-python" in caplog.text


def test_a_window_alone_that_cannot_be_opened_is_told_before_the_work(monkeypatch):
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    with pytest.raises(UsageError, match="show_flag: .* needs a display, .* name a file"):
        live.check_window()
    live.check_live(Clip())
