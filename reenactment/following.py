"""Everybody in a video, told when its end is known."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from reenactment.faces import EVERY, Face, FrameInfo
from reenactment.linking import link
from reenactment.reenactor import Reenactor
from reenactment.track import Track, duration_of, left_to_right
from reenactment.tracking import SAME_FACE, SURE_ERROR, Tracker, iou
from utils.footage import Frame

_KEPT = 32 << 20  # bytes of frames in which latecomers are looked for: 12 frames of 720p
# Who was never seen surely, but in fewer frames or, mostly, with a larger error, was nobody: in one
# clip a blur was taken for a face by both networks for 78 frames, with an error of 5.9. Of real
# heads that turn away, grimace or wear masks, a twenty-fifth have more than 5.
_FLEETING, _DOUBTFUL_ERROR = 10, 5.0


def follow(
    reenactor: Reenactor, frames: Iterable[Frame], name: str, steady: bool = True
) -> list[Track]:
    """Everybody in a video, from left to right.

    Whoever is found some frames late is followed back to the first sight.

    Parameters
    ----------
    name : of the video; steady : as in `Tracker`.
    """
    tracker = Tracker(reenactor, EVERY, by_shape=False, steady=steady)
    lately = _Lately(tracker)
    times: list[float] = []
    people: dict[int, list[Face]] = {}
    for shown in frames:
        img = shown.img
        frame = FrameInfo(name, (img.shape[1], img.shape[0]), shown.number, shown.seconds)
        faces = tracker(img, frame)
        for face in faces:
            people.setdefault(face.track or 0, []).extend([*lately.missed(face, img), face])
        lately.keep(img, frame, faces)
        times.append(shown.seconds)
    duration = duration_of(times)
    tracks = [Track.of(faces, number, duration) for number, faces in people.items()]
    return left_to_right(_lasting(link(tracks, reenactor.tddfa.likeness)))


class _Lately:
    """The last frames, as many as may be kept, and who is in them."""

    def __init__(self, tracker: Tracker) -> None:
        self._tracker = tracker
        self._frames: deque[tuple[np.ndarray, FrameInfo, list[Face]]] = deque()

    def keep(self, img: np.ndarray, frame: FrameInfo, faces: list[Face]) -> None:
        """The next frame, and the faces that were found in it."""
        self._frames.append((img, frame, faces))
        while len(self._frames) * img.nbytes > _KEPT:
            self._frames.popleft()

    def missed(self, face: Face, img: np.ndarray) -> list[Face]:
        """The same face in the frames just before, where nobody has seen it, in their order."""
        missed: list[Face] = []
        earlier = self._tracker.trace(face, img, ((img, info) for img, info, _ in self._back()))
        for _, _, others in self._back():
            if any(other.track == face.track for other in others):
                break
            before = next(earlier, None)
            if before is None or any(_is_same(before, other) for other in others):
                break
            others.append(before)
            missed.append(before)
        return missed[::-1]

    def _back(self) -> Iterator[tuple[np.ndarray, FrameInfo, list[Face]]]:
        return reversed(self._frames)


def _is_same(one: Face, other: Face) -> bool:
    return iou(one.roi_box, other.roi_box) > SAME_FACE


def _lasting(tracks: Sequence[Track]) -> list[Track]:
    """Those that are somebody's: seen surely, or for a while and not too doubtfully.

    Where that is nobody's, it is the longest, in case it is somebody's after all.
    """
    return [track for track in tracks if _is_somebody(track)] or sorted(tracks, key=len)[-1:]


def _is_somebody(track: Track) -> bool:
    if track.errors is None or track.errors.min() < SURE_ERROR:
        return True
    return len(track) >= _FLEETING and bool(np.median(track.errors) < _DOUBTFUL_ERROR)
