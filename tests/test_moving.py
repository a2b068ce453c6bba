"""Moving pictures through the whole program: what drives, what gets it, what is written."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import REPO

import face_reenactment
from bfm.bfm import PROVISIONED_MODEL
from reenactment import Job, Reenactor
from reenactment.clip import Clip
from reenactment.stage import Stage
from utils.console import Silent
from utils.footage import is_footage, open_footage
from utils.io import WholeFiles
from utils.sinks import open_sink

pytest.importorskip("av", reason="PyAV is not installed: pip install -r requirements-video.txt")

SMILE = REPO / "examples/inputs/astronaut.png"
CALM = REPO / "examples/inputs/grace_hopper.jpg"
WEIGHTS = REPO / "examples/inputs/greeting.csv"
TIMES = (0.0, 0.1, 0.15, 0.3, 0.4, 0.5)  # not at a constant rate


@pytest.fixture(scope="module")
def reenactor():
    if not (REPO / PROVISIONED_MODEL).is_file():
        pytest.skip(f"no {PROVISIONED_MODEL}: run `python -m bfm.provision`")
    return Reenactor()


def head(path, size=256):
    """The upper part of an example, small."""
    img = cv2.imread(str(path))
    return cv2.resize(img[: min(img.shape[:2]), : min(img.shape[:2])], (size, size))


def write_clip(path, pictures, times=TIMES):
    with WholeFiles() as files, open_sink(path, 10.0, files) as sink:
        for picture, seconds in zip(pictures, times):
            sink.write(picture, seconds)
    return str(path)


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """Videos: of somebody who moves; of two people; of somebody who comes late; of nobody."""
    folder = tmp_path_factory.mktemp("clips")
    smile, calm = head(SMILE), head(CALM)
    moved = [np.roll(smile, 3 * number, axis=1) for number in range(len(TIMES))]
    empty = np.full_like(smile, 90)
    return {
        "one": write_clip(folder / "one.mp4", moved),
        "two": write_clip(folder / "two.mp4", [np.hstack([smile, calm])] * len(TIMES)),
        "late": write_clip(folder / "late.mp4", [empty] * 2 + moved[2:]),
        "nobody": write_clip(folder / "nobody.mp4", [empty] * len(TIMES)),
    }


def reenact(*options):
    return face_reenactment.main([*map(str, options)])


def played(path):
    with open_footage(path) as footage:
        return [(frame.seconds, frame.img) for frame in footage]


def test_a_video_drives_a_picture_and_keeps_its_times(reenactor, clips, tmp_path, capsys):
    out = tmp_path / "new" / "out.mp4"
    assert reenact("-s", clips["one"], "-t", CALM, "-o", out, "--opt", "photo") == 0
    result = played(out)
    np.testing.assert_allclose([seconds for seconds, _ in result], TIMES, atol=1e-3)
    target = cv2.imread(str(CALM))
    height, width = result[0][1].shape[:2]
    assert (height, width) == (target.shape[0] & ~1, target.shape[1] & ~1)
    border = np.abs(result[0][1][:40].astype(int) - target[:40, :width])
    assert border.mean() < 3  # what the video's coding changes
    assert f"{len(TIMES)} frames, 0 without a face" in capsys.readouterr().out


def test_transparency_is_kept_where_a_file_can_hold_it(reenactor, clips, tmp_path):
    img, frames = cv2.imread(str(CALM)), tmp_path / "frames"
    alpha = np.full(img.shape[:2], 255, np.uint8)
    alpha[:40] = 0
    frames.mkdir()
    for number in range(2):
        shown = np.dstack([img + np.uint8(number), alpha])  # what stays the same is no animation
        cv2.imwrite(str(frames / f"{number}.png"), shown)
    cv2.imwrite(str(tmp_path / "clear.png"), np.dstack([img, alpha]))
    for target, source, shift in ((frames, SMILE, 1), (tmp_path / "clear.png", clips["one"], 0)):
        out = tmp_path / "out" / "%d.png"
        assert reenact("-s", source, "-t", target, "-o", out, "--opt", "photo") == 0
        result = cv2.imread(str(tmp_path / "out" / "1.png"), cv2.IMREAD_UNCHANGED)
        np.testing.assert_allclose(result[..., 3], alpha, atol=9)  # it moves along
        assert np.array_equal(result[:40, :40, :3], img[:40, :40] + shift)
        assert not np.array_equal(result[..., :3], img)
    film = tmp_path / "out.webp"
    assert reenact("-s", SMILE, "-t", frames, "-o", film, "--opt", "photo") == 0
    again = tmp_path / "again" / "%d.png"
    assert reenact("-s", SMILE, "-t", film, "-o", again, "--opt", "photo") == 0
    result = cv2.imread(str(tmp_path / "again" / "0.png"), cv2.IMREAD_UNCHANGED)
    np.testing.assert_allclose(result[..., 3], alpha, atol=9)


def test_a_changed_video_says_so(reenactor, clips, tmp_path):
    import av

    for opt, said in (("photo", True), ("3d", False)):
        out = tmp_path / f"{opt}.mp4"
        assert reenact("-s", clips["one"], "-t", CALM, "-o", out, "--opt", opt, "--fps", 5) == 0
        with av.open(str(out)) as container:
            assert ("compositeSynthetic" in container.metadata.get("comment", "")) == said
            assert container.streams.video[0].frames == 3  # of 0.6 s


def test_masks_over_time_keep_what_is_clear(reenactor, clips, tmp_path):
    out = tmp_path / "out.webp"
    assert reenact("-s", CALM, "-t", clips["one"], "-o", out, "--opt", "mask") == 0
    shown = cv2.imreadanimation(str(out))[1].frames if hasattr(cv2, "imreadanimation") else ()
    for picture in shown:
        assert 0 < np.count_nonzero(picture[..., 3]) < picture[..., 3].size


def test_a_picture_drives_a_video_into_numbered_files(reenactor, clips, tmp_path, capsys):
    out = tmp_path / "out_%03d.png"
    assert reenact("-s", CALM, "-t", clips["one"], "-o", out, "--opt", "mask") == 0
    masks = [cv2.imread(str(tmp_path / f"out_{n:03d}.png"), -1) for n in range(len(TIMES))]
    centres = [np.nonzero(mask[..., 3])[1].mean() for mask in masks]
    np.testing.assert_allclose(np.diff(centres), 3, atol=1)  # the mask goes with the face
    assert len(list(tmp_path.iterdir())) == len(TIMES)
    assert ", in place of" not in capsys.readouterr().out
    assert reenact("-s", CALM, "-t", clips["one"], "-o", out, "--opt", "mask") == 0
    assert f"wrote {out}: 6 frames, 0 without a face, in place of" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["frames", "frames/*.png", "frames/%03d.png"])
def test_frames_that_come_in_are_never_written_over(tmp_path, monkeypatch, capsys, name):
    monkeypatch.chdir(tmp_path)
    Path("frames").mkdir()
    for number in range(1, 4):
        cv2.imwrite(f"frames/{number:03d}.png", np.zeros((8, 8, 3), np.uint8))
    for options in (("-s", SMILE, "-t", name), ("-s", name, "-t", CALM)):
        assert reenact(*options, "-o", "frames/%03d.png") == 2
        assert "is an input, too" in capsys.readouterr().err


def test_batches_take_what_moves(reenactor, clips, tmp_path):
    rows, ledger = tmp_path / "rows.csv", tmp_path / "rows.ledger.jsonl"
    content = [("source", "target", "output"), (CALM, clips["one"], tmp_path / "a.mp4"),
               (clips["one"], CALM, tmp_path / "b.gif"),
               (CALM, clips["one"], tmp_path / "c_%d.jpg"),
               (CALM, clips["nobody"], tmp_path / "d.mp4")]
    rows.write_text("\n".join(",".join(map(str, row)) for row in content))
    assert reenact("--batch", rows, "--workers", 1) == 1
    entries = [json.loads(line) for line in ledger.read_text().splitlines()]
    entries = sorted((entry for entry in entries if "row" in entry), key=lambda e: e["row"])
    assert [entry["code"] for entry in entries] == [0, 0, 0, 4]
    assert len(entries[2]["outputs"]) == len(TIMES)
    assert len(played(tmp_path / "a.mp4")) == len(played(tmp_path / "b.gif")) == len(TIMES)
    assert reenact("--batch", rows, "--workers", 1, "--resume") == 1


def test_pairs_take_videos_of_folders(reenactor, clips, tmp_path):
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    (folder / "a.mp4").write_bytes(Path(clips["one"]).read_bytes())
    options = ("--pairs", "one-to-many", "--workers", 1, "-o", out)
    assert reenact("-s", CALM, "-t", folder, *options) == 0
    assert len(played(out / "1_grace_hopper_to_a_3d.mp4")) == len(TIMES)


@pytest.mark.parametrize("ending", [".csv", ".json"])
def test_weights_over_time_are_one_document(reenactor, clips, tmp_path, ending):
    out = tmp_path / f"out{ending}"
    assert reenact("-s", clips["one"], "-t", CALM, "-o", out, "--opt", "arkit") == 0
    if ending == ".json":
        faces = json.loads(out.read_text())["faces"]
        assert [face["frame"] for face in faces] == [*range(len(TIMES))]
        np.testing.assert_allclose([face["seconds"] for face in faces], TIMES, atol=1e-3)
    else:
        assert len(list(csv.DictReader(out.open()))) == len(TIMES)


@pytest.mark.parametrize("ending", [".csv", ".json", ".npz"])
def test_a_track_drives_as_its_video_does(reenactor, clips, tmp_path, ending):
    track, smiles = tmp_path / f"track{ending}", []
    assert reenact("-t", clips["one"], "-o", track, "--opt", "track") == 0
    for source in (clips["one"], track):
        out = tmp_path / "out.json"
        assert reenact("-s", source, "-t", CALM, "-o", out, "--opt", "arkit", "--save_params",
                       tmp_path / "params.csv", "--fps", 10) == 0
        faces = json.loads(out.read_text())["faces"]
        smiles.append([face["weights"]["mouthSmileLeft"] for face in faces])
    np.testing.assert_allclose(*smiles, atol=1e-3)
    assert len(smiles[0]) == 6
    assert (tmp_path / "params.csv").read_text().count("\n") == 7


def test_weights_over_time_drive_a_picture(reenactor, clips, tmp_path):
    rows, out = tmp_path / "rows.csv", tmp_path / "out.mp4"
    rows.write_text("Timecode,JawOpen\n00:00:10:00,0\n00:00:10:30,100\n00:00:11:00,0\n")
    assert reenact("-s", rows, "-t", CALM, "-o", out, "--opt", "mask") == 2  # nothing is clear
    assert reenact("-s", rows, "-t", CALM, "-o", out) == 0
    result = played(out)
    np.testing.assert_allclose([seconds for seconds, _ in result], [0, 0.5, 1], atol=1e-3)
    changed = [np.abs(img.astype(int) - result[0][1]).mean() for _, img in result]
    assert changed[1] > 2 * changed[2]
    assert reenact("-s", rows, "-t", CALM, "-o", out, "--trim", 0.4, 0.9) == 0
    assert [seconds for seconds, _ in played(out)] == [pytest.approx(0.1, abs=0.101)]
    assert reenact("-s", rows, "-t", CALM, "-o", out, "--trim", 2, 3) == 3


def test_a_moment_of_a_video_drives_a_picture(reenactor, clips, tmp_path):
    out = tmp_path / "out.json"
    options = ("-t", CALM, "-o", tmp_path / "out.png", "--save_params", out)
    assert reenact("-s", clips["one"], "--at", 0.31, *options) == 0
    source = json.loads(out.read_text())["source"]
    assert source["image"] == "one.mp4"
    assert reenact("-s", clips["one"], "--at", 60, *options) == 3
    animated, still = tmp_path / "a.webp", tmp_path / "b.webp"
    assert reenact("-s", clips["one"], "-t", CALM, "-o", animated) == 0
    assert reenact("-s", clips["one"], "-t", CALM, "-o", still, "--at", 0.2) == 0
    assert is_footage(animated) and not is_footage(still)


def test_pairs_of_people_wear_each_others_expressions(reenactor, clips, tmp_path):
    out, alone = tmp_path / "pair.json", tmp_path / "alone.json"
    options = ("-s", CALM, "-t", clips["two"], "--opt", "arkit", "-o")
    assert reenact(*options, alone, "--target_face", "all") == 0
    calm = json.loads(alone.read_text())["faces"]
    assert len(calm) == 2 * len(TIMES)
    options = ("-s", clips["two"], "-t", clips["two"], "--opt", "arkit", "-o")
    assert reenact(*options, out, "--pair", "1:2,2:1", "--smooth", 0) == 0
    swapped = json.loads(out.read_text())["faces"]
    smiles = [face["weights"]["mouthSmileLeft"] for face in swapped[:2]]
    calm_smile = calm[0]["weights"]["mouthSmileLeft"]
    assert abs(smiles[0] - calm_smile) < 0.25 < smiles[1] - smiles[0]
    assert reenact(*options, out, "--pair", "1:3") == 4


def test_who_comes_late_is_not_missed(reenactor, clips, tmp_path, capsys):
    assert reenact("-s", CALM, "-t", clips["late"], "-o", tmp_path / "out.mp4") == 0
    assert f"{len(TIMES)} frames, 2 without a face" in capsys.readouterr().out


def test_a_video_of_nobody_leaves_nothing(reenactor, clips, tmp_path):
    assert reenact("-s", CALM, "-t", clips["nobody"], "-o", tmp_path / "out.mp4") == 4
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("least", "nobody"), [(0.0, False), (0.99, True)])
def test_a_camera_overlooks_the_too_uncertain(reenactor, clips, tmp_path, capsys, least, nobody):
    options = ("-s", WEIGHTS, "-t", f"camera:{clips['one']}", "--min_confidence", least)
    assert reenact(*options, "-o", tmp_path / "out.mp4") == 0
    frames, faceless = re.findall(r"(\d+) frames, (\d+) without", capsys.readouterr().out)[0]
    assert faceless == (frames if nobody else "0")


def test_a_smiling_driver_is_told_from_his_calmest_frames(reenactor, clips, tmp_path):
    def smile(*options):
        out = tmp_path / "out.json"
        assert reenact("-s", clips["one"], "-t", CALM, "-o", out, "--opt", "arkit", *options) == 0
        return json.loads(out.read_text())["faces"][0]["weights"]["mouthSmileLeft"]

    own = smile("--exp_gain", 0, "--regions", "all-but:mouth")
    assert abs(smile("--neutral", "auto") - own) < 0.3 * (smile() - own)  # nothing moves


@pytest.mark.parametrize(("fps", "start"), [(None, 0.0), (10.0, 0.0), (10.0, 0.2)])
def test_who_is_awake_is_seen_in_that_very_frame(reenactor, tmp_path, fps, start):
    """At any rate of pictures that have none, and in a part of them."""
    smile = head(SMILE)
    pictures = [np.roll(smile, 3 * number, axis=1) for number in range(6)]
    for number, picture in enumerate(pictures):
        cv2.imwrite(str(tmp_path / f"{number}.png"), picture)
    job = Job(str(CALM), str(tmp_path), {"photo": "out.mp4"}, moving=True,
              clip=Clip(fps=fps, trim=(start, None)))
    with Stage(reenactor, job, lambda frames, *_: frames) as stage:
        target = stage.target(stage.source())
        (face,) = target.faces(next(iter(target.frames)))
        awake = target.awake(face)
        first = round(start * (fps or 25))
        np.testing.assert_array_equal(awake.sight(), pictures[first + awake.face.frame.number])


def test_steps_as_a_clip(reenactor, tmp_path):
    out = tmp_path / "out.mp4"
    assert reenact("-s", SMILE, "-t", CALM, "-o", out, "--interpolate", 5, "--fps", 10) == 0
    np.testing.assert_allclose([s for s, _ in played(out)], np.arange(5) / 10, atol=1e-3)


@pytest.mark.parametrize("options", [
    ("-s", SMILE, "-t", CALM, "-o", "out.mp4"),  # nothing moves
    ("-s", "one", "-t", CALM, "-o", "out.mp4", "--trim", 3, 1),
    ("-s", CALM, "-t", "one", "-o", "out.mp4", "--interpolate", 3),
    ("-s", CALM, "-t", "one", "-o", "out.mp4", "--neutral_img_fp", "auto"),
    ("-s", "one", "-t", CALM, "-o", "out.mp4", "--smooth", 2),
    ("-s", "one", "-t", CALM, "-o", "out.mp4", "--opt", "obj"),
    ("-s", SMILE, "-t", "one", "-o", "out.jpg"),
    ("-s", SMILE, "-t", CALM, "-o", "out.jpg", "--neutral", "auto"),
    ("-s", "one", "-t", CALM, "-o", "out.mp4", "--pair", "1"),
    ("-s", "one", "-t", CALM, "-o", "out.mp4", "--pair", "1:1", "--target_face", "2"),
    ("-s", "one", "-t", "one", "-o", "one"),  # over an input
    ("-s", "one", "-t", CALM, "-o", "100%d.mp4"),
    ("-s", "one", "-t", CALM, "-o", "out.mp4", "--trim", "end", "end"),
    ("-s", "one", "-t", CALM, "-o", "out.png", "--at", -1),
    ("-s", "one", "-t", CALM, "-o", "out.mp4", "--osc", "127.0.0.1:99999"),
], ids=str)
def test_what_cannot_be(clips, options, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert reenact(*(clips.get(option, option) for option in options)) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("options", [
    ("-o", "out.mp4", "--encoder", "prores_ks"), ("-o", "out.mp4", "--encoder", "mjpeg"),
    ("-o", "/dev/null/out.mp4"), ("-o", "https://example.com/out.mp4"),
], ids=str)
def test_what_cannot_be_written_is_told_before_anything_is_followed(
    clips, options, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    assert reenact("-s", SMILE, "-t", clips["one"], *options) == 6
    told = capsys.readouterr()
    assert told.err.startswith("error: cannot write") and told.err.count("\n") == 1
    assert not told.out and not list(tmp_path.iterdir())


class Stopping(Silent):
    """A user who stops the run after some frames are drawn."""

    def __init__(self, frames):
        self._frames = frames

    def along(self, items, count, doing):
        for number, item in enumerate(items):
            if doing.startswith("drawing") and number == self._frames:
                raise KeyboardInterrupt
            yield item


def test_a_stopped_run_leaves_a_file_that_plays(reenactor, clips, tmp_path):
    out = tmp_path / "out.mp4"
    job = Job(str(CALM), clips["one"], {"3d": str(out)}, moving=True)
    with pytest.raises(KeyboardInterrupt, match=f"stopped after 3 frames, which are in {out}"):
        face_reenactment.reenact(job, reenactor, Stopping(3))
    assert len(played(out)) == 3
    out.unlink()
    with pytest.raises(KeyboardInterrupt):
        face_reenactment.reenact(job, reenactor, Stopping(0))
    assert not list(tmp_path.iterdir())


def test_a_still_target_does_not_tremble(reenactor, clips, tmp_path):
    out = tmp_path / "out_%d.png"
    assert reenact("-s", clips["one"], "-t", CALM, "-o", out, "--opt", "photo") == 0
    frames = [cv2.imread(str(tmp_path / f"out_{n}.png")) for n in range(len(TIMES))]
    target = cv2.imread(str(CALM))
    still = np.all([frame == target for frame in frames], axis=(0, 3))
    assert still[:, :40].all() and still[-100:].all()  # beyond half a face from it
    assert not still.all()
