"""The kinds of moving pictures that can be written, by their endings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

# Ticks of a second; usual rates have whole numbers of them, and MPEG-4 can have no more.
CLOCK = 60_000
QUALITIES = range(1, 101)
USUAL = 75  # of these; looks clean
BITS = 0.1  # for a pixel of usual quality, where an encoder's settings are unknown; 25 double it
INSTALL = "pip install -r requirements-video.txt"


@dataclass(frozen=True)
class Codec:
    """An encoder of pictures, by FFmpeg's name, and how it is set.

    setting : what it calls quality, if that is known; scale : of it, for qualities 0 and 100.
    """

    name: str
    options: Mapping[str, str]
    setting: str = "crf"
    scale: tuple[float, float] = (50, 10)

    def options_for(self, quality: int | None) -> dict[str, str]:
        """Its options for a quality of `QUALITIES`; None is the usual one."""
        if quality is None or not self.setting:
            return dict(self.options)
        worst, best = self.scale
        return {**self.options, self.setting: f"{worst + (best - worst) * quality / 100:.0f}"}

    def bit_rate(self, quality: int | None, pixels: float) -> int:
        """Bits for a second of so many pixels; 0 where the options tell the quality."""
        if self.setting:
            return 0
        return round(BITS * pixels * 2 ** (((quality or USUAL) - USUAL) / 25))


@dataclass(frozen=True)
class Form:
    """How a kind of file is made; names are FFmpeg's.

    container, pixels : its format, without which only OpenCV can write it, and the pixels'; the
        encoder sees those that are not opaque as `clear_pixels`, if it can.
    clock : ticks of a second, in which its times are told.
    settings : of the container.
    sound : the encoder of sound, if it holds any; copied : codecs of sound that it takes over.
    iso : whether it is an ISO base media file (ISO/IEC 14496-12).
    fourcc : what OpenCV calls the codec that it can have there, if there is one.
    """

    container: str
    codec: Codec
    pixels: str = "yuv420p"
    clear_pixels: str = ""
    clock: int = CLOCK
    settings: tuple[tuple[str, str], ...] = ()
    sound: str = ""
    copied: tuple[str, ...] = ()
    iso: bool = False
    fourcc: str = ""


# The fastest preset, and what halves its bytes for up to a quarter more of time.
H264 = Codec("libx264", {"preset": "ultrafast", "crf": "20",
                         "x264-params": "bframes=3:b-adapt=0:deblock=0,0:cabac=1"})  # fmt: skip
_REALTIME = {"deadline": "realtime", "lag-in-frames": "0"}
VP9 = Codec("libvpx-vp9", {**_REALTIME, "cpu-used": "7", "row-mt": "1", "crf": "30", "b": "0"},
            scale=(60, 20))  # fmt: skip
_OTHERS = (
    Codec("libx265", {"preset": "superfast", "crf": "24",
                      "x265-params": "b-pyramid=0:log-level=none"}),
    Codec("libsvtav1", {"preset": "10", "crf": "32"}, scale=(63, 20)),
    Codec("libvpx", {**_REALTIME, "cpu-used": "8", "crf": "12", "b": "20M"},
          scale=(60, 4)),
)  # fmt: skip
CODECS = {codec.name: codec for codec in (H264, VP9, *_OTHERS)}  # whose settings are known

_TO_STREAM = (("movflags", "+faststart"),)  # a player can begin before it has the end
_AT_ONCE = (("cluster_time_limit", "1000"),)  # ms that are kept back before they are written
_IN_MATROSKA = ("aac", "mp3", "opus", "vorbis", "flac", "ac3", "eac3", "alac", "pcm_s16le")

_MP4 = Form("mp4", H264, settings=_TO_STREAM, sound="aac", copied=("aac", "mp3"), iso=True,
            fourcc="mp4v")  # fmt: skip
_MOV = Form("mov", H264, settings=_TO_STREAM, sound="aac", iso=True, fourcc="mp4v",
            copied=("aac", "mp3", "alac", "pcm_s16le"))  # fmt: skip
FORMS = {
    ".mp4": _MP4,
    ".m4v": _MP4,
    ".mov": _MOV,
    ".mkv": Form("matroska", H264, settings=_AT_ONCE, sound="aac", copied=_IN_MATROSKA,
                 fourcc="mp4v"),
    ".webm": Form("webm", VP9, clear_pixels="yuva420p", settings=_AT_ONCE, sound="libopus",
                  copied=("opus", "vorbis"), fourcc="VP90"),
    ".avi": Form("", Codec("", {}), fourcc="mp4v"),
    ".gif": Form("gif", Codec("gif", {}), "pal8", clock=100),
    ".webp": Form("webp", Codec("libwebp_anim", {"quality": "80"}, "quality", (0, 100)),
                  "bgra", "bgra", clock=1000, settings=(("loop", "0"),)),
}  # fmt: skip
