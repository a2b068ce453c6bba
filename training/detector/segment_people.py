"""Cut the people out of the training pictures: a soft mask each, from MediaPipe's selfie network.

Runs where ``mediapipe==0.10.21`` is installed (its models are inside the wheel) and needs no torch.
The masks are (H, W) uint8 PNGs, 255 = person, in a tar, named like the pictures:
``portraits/train/17.png``.

Usage::

    python -m training.detector.segment_people --data DIR_OF_TARS --labels faces.json \
        --out masks.tar
"""

import argparse
import json
import tarfile
from pathlib import Path
from typing import Any

import cv2
import mediapipe as mp
import numpy as np
from tqdm import tqdm

from training.pictures import add_bytes, iterate_pictures

SETS = ("portraits", "lfw_imfdb", "utkface")
BORDER = 0.25  # of the long side: the network expects to see more than a tight crop shows
MIN_COVER = 0.85  # a mask must cover this share of the labelled face


def person_mask(segmenter: Any, picture: np.ndarray) -> np.ndarray:
    """Soft mask (H, W) uint8 of the people in a picture (H, W, 3) uint8 BGR.

    The larger of two opinions: on the picture as it is, and with its edges continued outwards.
    """
    margin = round(BORDER * max(picture.shape[:2]))
    wide = cv2.copyMakeBorder(picture, margin, margin, margin, margin, cv2.BORDER_REPLICATE)
    tight_mask = segmenter.process(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)).segmentation_mask
    wide_mask = segmenter.process(cv2.cvtColor(wide, cv2.COLOR_BGR2RGB)).segmentation_mask
    mask = np.maximum(tight_mask, wide_mask[margin:-margin, margin:-margin])
    return np.clip(mask * 255, 0, 255).astype(np.uint8)


def covers_face(mask: np.ndarray, box: list[float]) -> bool:
    """Whether the mask covers the inner part (the middle 70% each way) of the face box well."""
    x1, y1, x2, y2 = box
    inset_x, inset_y = 0.15 * (x2 - x1), 0.15 * (y2 - y1)
    inner = mask[
        max(int(y1 + inset_y), 0) : int(y2 - inset_y), max(int(x1 + inset_x), 0) : int(x2 - inset_x)
    ]
    return inner.size > 0 and inner.mean() >= 255 * MIN_COVER


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the tars")
    parser.add_argument("--labels", type=Path, required=True, help="what label wrote")
    parser.add_argument("--out", type=Path, required=True, help="tar to write")
    args = parser.parse_args()
    labels, kept = json.loads(args.labels.read_text()), 0
    with (
        mp.solutions.selfie_segmentation.SelfieSegmentation(model_selection=0) as segmenter,
        tarfile.open(args.out, "w") as masks,
    ):
        for tar_name in SETS:
            for name, picture in tqdm(
                iterate_pictures(args.data / f"{tar_name}.tar"), desc=tar_name
            ):
                label = labels.get(f"{tar_name}/{name}")
                if label is None or len(label["faces"]) != 1 or label["ignore"]:
                    continue
                mask = person_mask(segmenter, picture)
                if covers_face(mask, label["faces"][0]):
                    mask_name = f"{tar_name}/{Path(name).with_suffix('.png')}"
                    add_bytes(masks, mask_name, cv2.imencode(".png", mask)[1].tobytes())
                    kept += 1
    print(f"{kept} masks -> {args.out}")


if __name__ == "__main__":
    main()
