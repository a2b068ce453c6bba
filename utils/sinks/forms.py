"""The kinds of videos that can be written."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Form:
    """How a kind of video is encoded; names are FFmpeg's.

    copied : codecs of sound that are taken over as they are; others become `sound`.
    settings : of the container.
    edits : whether it can tell players to skip the beginning of a packet of sound.
    worst : the constant rate factor that quality 0 would have.
    """

    container: str
    encoder: str
    pixels: str
    options: dict[str, str]
    sound: str = ""
    copied: tuple[str, ...] = ()
    settings: tuple[tuple[str, str], ...] = ()
    edits: bool = False
    worst: float = 50.0

    def crf(self, quality: int) -> str:
        """The encoder's constant rate factor for a quality from 1 to 100."""
        return str(round(self.worst - 0.4 * quality))


_H264 = {"preset": "superfast", "crf": "20"}
_VP9 = {"deadline": "realtime", "cpu-used": "7", "row-mt": "1", "crf": "30", "b": "0"}
_FASTSTART = (("movflags", "+faststart"),)
_MATROSKA = ("aac", "mp3", "opus", "vorbis", "flac", "ac3", "eac3", "alac", "pcm_s16le")

FORMS = {
    ".mp4": Form("mp4", "libx264", "yuv420p", _H264, "aac", ("aac", "mp3"), _FASTSTART, True),
    ".m4v": Form("mp4", "libx264", "yuv420p", _H264, "aac", ("aac", "mp3"), _FASTSTART, True),
    ".mov": Form("mov", "libx264", "yuv420p", _H264, "aac", ("aac", "mp3", "alac", "pcm_s16le"),
                 _FASTSTART, True),
    ".mkv": Form("matroska", "libx264", "yuv420p", _H264, "aac", _MATROSKA),
    ".webm": Form("webm", "libvpx-vp9", "yuv420p", _VP9, "libopus", ("opus", "vorbis"),
                  worst=60.0),
}
