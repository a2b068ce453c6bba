"""utils.threads: OpenCV gives way while videos run, and then has its threads again."""

from __future__ import annotations

import cv2
import pytest

from utils.threads import opencv_in_one_thread


def test_opencv_has_its_threads_again_whatever_happened():
    before = cv2.getNumThreads()
    with pytest.raises(RuntimeError), opencv_in_one_thread():
        assert cv2.getNumThreads() == 1
        raise RuntimeError
    assert cv2.getNumThreads() == before
