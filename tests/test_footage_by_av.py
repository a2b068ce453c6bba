"""What videos say beside their pixels: turns, pixels' shapes, curves of light, streams, clocks."""

from __future__ import annotations

from fractions import Fraction

import cv2
import numpy as np
import pytest
from conftest import needs_av, noise
from test_footage import marked, number_of, told, write_clip

from utils.errors import InputError
from utils.footage import open_footage
from utils.footage.tone import HLG, PQ, as_sdr

pytestmark = needs_av


def encode(path, frames, codec="libx264", pixels="yuv420p", rate=25, sound=None, **settings):
    """A video by FFmpeg as it comes; `settings` are attributes of the codec's context.

    frames : as for `as_frame`, or pairs of such a one and its time in 1/1000 s.
    """
    import av

    pairs = [item if isinstance(item, tuple) else (item, 1000 * number / rate)
             for number, item in enumerate(frames)]
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate)
        first = as_frame(pairs[0][0], pixels)
        stream.width, stream.height, stream.pix_fmt = first.width, first.height, pixels
        stream.codec_context.time_base = Fraction(1, 1000)
        for name, value in settings.items():
            setattr(stream.codec_context, name, value)
        tone = add_silence(container) if sound else None
        for img, time in pairs:
            frame = as_frame(img, pixels)
            frame.pts, frame.time_base = round(time), Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        if tone:
            mux_silence(container, tone, *sound)
    return path


def add_silence(container):
    tone = container.add_stream("aac", 48_000)
    tone.codec_context.layout = "mono"
    return tone


def mux_silence(container, tone, begin, length):
    import av

    samples = np.zeros((1, round(48_000 * length)), np.float32)
    frame = av.AudioFrame.from_ndarray(samples, "fltp", "mono")
    frame.sample_rate, frame.pts = 48_000, round(48_000 * begin)
    frame.time_base = Fraction(1, 48_000)
    container.mux(tone.encode(frame))
    container.mux(tone.encode(None))


def with_matrix(path, a, b, c, d):
    """The MP4 file with that matrix in its track's header."""
    data = bytearray(path.read_bytes())
    place = data.index(b"tkhd") + 44  # ISO/IEC 14496-12, 8.3.2
    matrix = [a, b, 0, c, d, 0, 0, 0, 1 << 14]
    data[place : place + 36] = b"".join((value << 16).to_bytes(4, "big", signed=True)
                                        for value in matrix)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    ("matrix", "turned"),
    [
        ((1, 0, 0, 1), lambda img: img),  # upright
        ((0, 1, -1, 0), lambda img: np.rot90(img, -1)),  # as phones do, clockwise
        ((-1, 0, 0, -1), lambda img: np.rot90(img, 2)),
        ((0, -1, 1, 0), np.rot90),
        ((-1, 0, 0, 1), np.fliplr),  # as by the front camera
        ((1, 0, 0, -1), np.flipud),
        ((0, 1, 1, 0), lambda img: np.transpose(img, (1, 0, 2))),
    ],
)
def test_frames_are_turned_as_the_file_says(tmp_path, matrix, turned):
    img = noise(48, 64)
    path = with_matrix(write_clip(tmp_path / "a.mp4", [img] * 3), *matrix)
    with open_footage(path) as footage:
        frame = next(iter(footage)).img
        assert footage.size == frame.shape[1::-1]
    assert frame.shape == turned(img).shape
    assert np.abs(frame.astype(int) - turned(img)).mean() < 8


@pytest.mark.parametrize(("aspect", "size"), [((4, 3), (128, 72)), ((3, 4), (96, 96)),
                                              ((1, 1), (96, 72))])  # fmt: skip
def test_pixels_become_square(tmp_path, video_engine, aspect, size):
    path = encode(tmp_path / "a.mp4", [noise(72, 96)] * 2, sample_aspect_ratio=Fraction(*aspect))
    with open_footage(path) as footage:
        frame = next(iter(footage)).img
        assert footage.size == size == frame.shape[1::-1]
    expected = cv2.resize(noise(72, 96), size)
    assert np.abs(frame.astype(int) - expected).mean() < 8


def ten_bits(luma):
    """A grey picture in 10 bits: its planes."""
    return [np.full((48, 64), luma, np.uint16), *[np.full((24, 32), 512, np.uint16)] * 2]


def as_frame(img, pixels):
    """A picture as FFmpeg has it; if it is a list of planes, such as they are."""
    import av

    if isinstance(img, np.ndarray):
        return av.VideoFrame.from_ndarray(img, "bgr24").reformat(format=pixels)
    frame = av.VideoFrame(*img[0].shape[::-1], pixels)
    for plane, content in zip(frame.planes, img):
        padded = np.zeros((plane.height, plane.line_size), np.uint8)
        padded[:, : 2 * plane.width] = content.view(np.uint8)
        plane.update(padded.tobytes())
    return frame


def test_transparency_is_read_where_there_is_any(tmp_path):
    import av

    alpha = np.full((48, 64), 255, np.uint8)
    alpha[:9] = 0
    with av.open(str(tmp_path / "a.mov"), "w") as container:
        stream = container.add_stream("qtrle", 25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "argb"
        clear = np.dstack([alpha, marked(3)[..., ::-1]])
        container.mux(stream.encode(av.VideoFrame.from_ndarray(clear, "argb")))
        container.mux(stream.encode(None))
    with open_footage(tmp_path / "a.mov") as footage:
        (frame,) = footage
    assert np.array_equal(frame.with_alpha(), np.dstack([marked(3), alpha]))
    with open_footage(write_clip(tmp_path / "b.mp4", [marked(0)])) as footage:
        assert next(iter(footage)).with_alpha().shape == (48, 64, 3)


def test_ten_bits_are_read_right(tmp_path):
    path = encode(tmp_path / "a.mkv", [ten_bits(64 + 438)] * 2, "ffv1", "yuv420p10le")
    with open_footage(path) as footage:
        assert abs(next(iter(footage)).img.mean() - 127.5) <= 1


@pytest.mark.parametrize(
    ("curve", "signal", "expected"),
    [
        (PQ, 0.58069, 239),  # 203 nits: what is white on paper
        (PQ, 0.3583, 90),  # a tenth of it
        (PQ, 0.0, 0),
        (HLG, 0.75, 239),  # the same white (BT.2408)
        (HLG, 0.0, 0),
    ],
)
def test_high_dynamic_range_keeps_white_and_greys(tmp_path, curve, signal, expected):
    path = encode(
        tmp_path / "a.mkv", [ten_bits(round(64 + 876 * signal))] * 2, "ffv1", "yuv420p10le",
        color_trc=curve, color_primaries=9, colorspace=9,
        color_range=1,
    )  # fmt: skip
    with open_footage(path) as footage:
        img = next(iter(footage)).img
    assert np.abs(img.astype(int) - expected).max() <= 3


@pytest.mark.parametrize("curve", [PQ, HLG])
def test_brighter_signals_stay_brighter_and_greys_grey(curve):
    ramp = np.repeat(np.arange(0, 65536, 256, dtype=np.uint16)[None, :, None], 3, axis=2)
    sdr = as_sdr(ramp, curve)[0].astype(int)
    assert (np.diff(sdr, axis=0) >= 0).all() and sdr[0].max() == 0 and sdr[-1].min() >= 250
    assert np.ptp(sdr, axis=1).max() <= 1


# --- streams and clocks


def test_sound_that_begins_earlier_or_later_is_found_by_the_file_s_clock(tmp_path):
    for begin in (0, 0.4):
        frames = [(marked(number), 200 + 40 * number) for number in range(20)]
        path = encode(tmp_path / f"{begin}.mkv", frames, sound=(begin, 1.0))
        with open_footage(path) as footage:
            first = footage.sound.start
            assert told(footage) == [(number, 0.04 * number) for number in range(20)]
        assert first == pytest.approx(0.2, abs=0.03) if begin == 0 else first >= 0


@pytest.mark.parametrize(("suffix", "first"), [(".mkv", -400), (".mp4", 3_000), (".ts", 40)])
def test_clocks_that_do_not_begin_at_zero(tmp_path, suffix, first):
    frames = [(marked(number), first + 40 * number) for number in range(20)]
    path = encode(tmp_path / f"a{suffix}", frames)
    with open_footage(path) as footage:
        assert told(footage) == [(number, 0.04 * number) for number in range(20)]
    with open_footage(path, trim=(0.4, None)) as footage:
        assert told(footage) == [(10 + number, 0.04 * number) for number in range(10)]


def test_what_an_edit_list_hides_stays_hidden(tmp_path):
    frames = [(marked(number), 40 * number - 400) for number in range(20)]
    with open_footage(encode(tmp_path / "a.mp4", frames)) as footage:
        assert told(footage) == [(10 + number, 0.04 * number) for number in range(10)]
        assert footage.shortfall == ""


def test_what_has_no_times_gets_them_from_its_rate(tmp_path):
    path = encode(tmp_path / "a.h264", [marked(number) for number in range(20)], rate=20,
                  options={"x264-params": "bframes=0"})
    with open_footage(path, trim=(0.0, None)) as footage:
        numbers, seconds = zip(*told(footage))
    assert numbers == tuple(range(20))
    assert np.diff(seconds) == pytest.approx(np.full(19, 1 / footage.fps), abs=1e-3)


def test_sound_alone_is_no_video_nor_is_the_picture_of_an_album(tmp_path):
    import av

    for name in ("a.mp4", "b.mp4"):
        with av.open(str(tmp_path / name), "w") as container:
            tone = add_silence(container)
            if name == "b.mp4":
                cover = container.add_stream("mjpeg", 1)
                cover.width, cover.height, cover.pix_fmt = 64, 48, "yuvj420p"
                cover.disposition = av.stream.Disposition.attached_pic.value
                frame = av.VideoFrame.from_ndarray(noise(48, 64), "bgr24")
                container.mux(cover.encode(frame.reformat(format="yuvj420p")))
                container.mux(cover.encode(None))
            mux_silence(container, tone, 0, 0.2)
        with pytest.raises(InputError, match="sound only"):
            open_footage(tmp_path / name)


def test_a_size_that_changes_is_made_that_of_the_first_frame(tmp_path):
    first = encode(tmp_path / "a.ts", [marked(number) for number in range(10)])
    second = encode(tmp_path / "b.ts", [marked(number, (128, 96)) for number in range(10, 20)])
    (tmp_path / "c.ts").write_bytes(first.read_bytes() + second.read_bytes())
    with open_footage(tmp_path / "c.ts") as footage:
        frames = list(footage)
        assert {frame.img.shape for frame in frames} == {(48, 64, 3)}
        assert [number_of(frame.img) for frame in frames] == list(range(20))
    assert np.diff([frame.seconds for frame in frames]).min() > 0


def test_a_damaged_stream_is_read_to_its_end(tmp_path):
    """H.264 whose bytes are spoiled here and there; the decoder conceals what it can."""
    path = encode(tmp_path / "a.mkv", [np.roll(noise(96, 128), 5 * i, axis=1) for i in range(60)])
    data = bytearray(path.read_bytes())
    rng = np.random.default_rng(1)
    for place in rng.integers(len(data) // 4, len(data) * 3 // 4, 30):
        data[place] ^= 0xFF
    path.write_bytes(data)
    with open_footage(path) as footage:
        frames = list(footage)
        assert 15 < len(frames) <= 60 and footage.shortfall
        assert np.diff([frame.seconds for frame in frames]).min() > 0


def test_a_playlist_reads_nothing_but_files(tmp_path):
    (tmp_path / "a.mp4").write_text(
        "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\nhttp://127.0.0.1:9/a.ts\n#EXT-X-ENDLIST\n"
    )
    with pytest.raises(InputError):
        open_footage(tmp_path / "a.mp4")


def test_names_that_look_like_protocols_are_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_clip("http:a.mkv", [marked(1)] * 2)
    with open_footage("http:a.mkv") as footage:
        assert [number for number, _ in told(footage)] == [1, 1]
