"""The command line as users run it: a process, its files, its one line on stderr."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest

import face_reenactment
from bfm.bfm import PROVISIONED_MODEL
from reenactment.views import VIEWS

ROOT = Path(__file__).resolve().parent.parent
SMILE = ROOT / "examples/inputs/astronaut.png"
CALM = ROOT / "examples/inputs/grace_hopper.jpg"
UPSTREAM_CONFIG = "configs/mb05_120x120.yml"


def run(*arguments: object, cwd: Path = ROOT, **environment: str) -> subprocess.CompletedProcess:
    """Run the program; without a display, as in a batch job."""
    env = {**os.environ, **environment}
    env.pop("DISPLAY", None)
    command = [sys.executable, str(ROOT / "face_reenactment.py"), *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=120)


def fails(result: subprocess.CompletedProcess, code: int, *words: str) -> None:
    """Assert the exit code and one line on stderr that holds all `words`."""
    assert result.returncode == code, result.stderr
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    for word in words:
        assert word in result.stderr


@pytest.fixture(scope="module")
def reenact():
    """Run the program on our pair of pictures with our own weights."""
    if not (ROOT / PROVISIONED_MODEL).is_file():
        pytest.skip(f"no {PROVISIONED_MODEL}: run `python -m bfm.provision`")

    def call(*arguments: object, source: object = SMILE, target: object = CALM):
        return run("-s", source, "-t", target, *arguments)

    return call


@pytest.fixture(scope="module")
def group(tmp_path_factory):
    """A picture of three people, side by side."""
    smile, calm = (cv2.imread(str(path)) for path in (SMILE, CALM))
    smile = np.pad(smile, ((0, len(calm) - len(smile)), (0, 0), (0, 0)))
    path = tmp_path_factory.mktemp("group") / "group.png"
    cv2.imwrite(str(path), np.hstack([smile, calm, smile[:, ::-1]]))
    return path


@pytest.fixture(scope="module")
def everything(reenact, tmp_path_factory):
    """One run with every kind of output and saved parameters, in a folder yet to be made."""
    folder = tmp_path_factory.mktemp("cli") / "new" / "folder"
    params = folder / "params.json"
    result = reenact("--opt", ",".join(VIEWS), "-o", folder / "out.png", "--save_params", params)
    assert result.returncode == 0, result.stderr
    return folder, result


def test_every_kind_of_output(everything):
    folder, result = everything
    media = {name: view.medium for name, view in VIEWS.items()}
    names = {f"out_{name}{'.png' if '.png' in medium.suffixes else medium.suffixes[0]}"
             for name, medium in media.items()}
    assert {path.name for path in folder.iterdir()} == names | {"params.json"}
    target = cv2.imread(str(CALM))
    overlay = cv2.imread(str(folder / "out_3d.png"))
    assert overlay.shape == target.shape
    changed = np.abs(overlay.astype(int) - target).max(axis=2) > 8
    assert 0.05 < changed.mean() < 0.5  # the face, not the whole picture
    assert not changed[:60].any() and not changed[-150:].any()  # above and below it
    assert "face 1 of 1" in result.stdout and str(folder / "out_3d.png") in result.stdout


def test_saved_parameters_name_source_target_and_result(everything):
    content = json.loads((everything[0] / "params.json").read_text())
    source, target, result = content["source"], content["target"][0], content["result"][0]
    assert result["expression"] == source["expression"] != target["expression"]
    assert result["shape"] == target["shape"] and result["pose"] == target["pose"]
    assert abs(target["yaw"]) < 20 and source["image"] == SMILE.name


def test_expression_replays_from_parameters_without_the_photo(everything, reenact, tmp_path):
    folder, _ = everything
    out = tmp_path / "out.png"
    assert reenact("-o", out, source=folder / "params.json").returncode == 0
    np.testing.assert_array_equal(cv2.imread(str(out)), cv2.imread(str(folder / "out_3d.png")))


def test_gain_and_relative_transfer(everything, reenact, tmp_path):
    """With the source itself as neutral, the target keeps its own expression."""
    out = tmp_path / "p.npz"
    params = everything[0] / "params.json"
    rest = ["-o", tmp_path / "o.png", "--save_params", out, "--exp_gain", "1.7"]
    assert reenact("--neutral_img_fp", params, *rest, source=params).returncode == 0
    with np.load(out) as relative:
        kept = relative["result/0/expression"], relative["target/0/expression"]
    np.testing.assert_allclose(*kept, atol=1e-6)
    assert reenact(*rest, source=params).returncode == 0
    with np.load(out) as absolute:
        scaled = absolute["result/0/expression"], 1.7 * absolute["source/expression"]
    np.testing.assert_allclose(*scaled, rtol=1e-5)


def test_all_faces_of_a_picture_get_the_expression(everything, reenact, group, tmp_path):
    out = tmp_path / "p.json"
    result = reenact("--target_face", "all", "--opt", "mask", "-o", tmp_path / "m.png",
                     "--save_params", out, source=everything[0] / "params.json", target=group)
    assert result.returncode == 0 and "face 1, 2, 3 of 3" in result.stdout
    content = json.loads(out.read_text())
    for face in content["result"]:
        assert face["expression"] == content["source"]["expression"]
    opaque = cv2.imread(str(tmp_path / "m.png"), cv2.IMREAD_UNCHANGED)[..., 3] > 0
    assert all(third.any() for third in np.array_split(opaque, 3, axis=1))


def test_faces_are_counted_from_the_left(reenact, group, everything, tmp_path):
    out = tmp_path / "p.json"
    lefts = []
    for number in (1, 2, 3):
        assert reenact("--target_face", number, "-o", tmp_path / "o.jpg", "--save_params", out,
                       source=everything[0] / "params.json", target=group).returncode == 0
        lefts.append(json.loads(out.read_text())["target"][0]["roi_box"][0])
    assert [left // 512 for left in lefts] == [0, 1, 2]


@pytest.mark.parametrize(
    "options",
    [
        ("--engine", "torch"),  # torch in place of onnxruntime
        ("--onnx",),  # the original's switch
        ("--mode", "cpu", "--show_flag", "false"),  # the original's defaults, spelled out
    ],
)
def test_engines_draw_the_same_picture(everything, reenact, tmp_path, options):
    if "torch" in options:
        pytest.importorskip("torch", reason="torch is not installed")
    out = tmp_path / "out.png"
    assert reenact(*options, "-o", out).returncode == 0
    difference = np.abs(cv2.imread(str(out)).astype(int)
                        - cv2.imread(str(everything[0] / "out_3d.png")))
    assert difference.mean() < 0.05


def test_reenacts_as_the_original_did(assets, goldens, tmp_path):
    """The first acceptance test: this very command gives the original's picture."""
    inputs, out = assets / "examples/inputs", tmp_path / "out.png"
    result = run("--assets", assets, "-c", UPSTREAM_CONFIG, "-s", inputs / "JianzhuGuo.jpg",
                 "-t", inputs / "trump_hillary.jpg", "--target_face", "best", "-o", out)
    assert result.returncode == 0, result.stderr
    golden = cv2.imread(str(goldens / "reenact_JianzhuGuo_to_trump_hillary_3d.png"))
    assert np.abs(cv2.imread(str(out)).astype(int) - golden).mean() < 0.5


def test_alpha_and_background(everything, reenact, tmp_path):
    params = everything[0] / "params.json"
    out = tmp_path / "out.png"
    assert reenact("--alpha", 0, "-o", out, source=params).returncode == 0
    np.testing.assert_array_equal(cv2.imread(str(out)), cv2.imread(str(CALM)))
    assert reenact("--with_bg_flag", "false", "-o", out, source=params).returncode == 0
    assert (cv2.imread(str(out))[:60] == 0).all()


def test_default_output_name(everything, tmp_path):
    result = run("-s", everything[0] / "params.json", "-t", CALM, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "examples/results/params_to_grace_hopper_3d.jpg").is_file()


def test_assets_from_the_environment_and_a_name_with_accents(assets, tmp_path):
    picture = tmp_path / "père et 母.png"
    picture.write_bytes(SMILE.read_bytes())
    out = tmp_path / "ausgabe ü.png"
    result = run("-c", UPSTREAM_CONFIG, "-s", picture, "-t", CALM, "-o", out,
                 FACE_REENACTMENT_ASSETS=str(assets))
    assert result.returncode == 0 and out.stat().st_size > 0


def test_help_shows_groups_examples_and_exit_codes():
    text = run("--help").stdout
    assert text.count("python face_reenactment.py") >= 3
    for word in ("files:", "faces and expression:", "output:", "exit codes:", "--neutral_img_fp"):
        assert word in text


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (("--opt", "3d,hologram"), "hologram"),  # unknown kind of output
        (("--alpha", "2"), "--alpha"),  # out of range
        (("--exp_gain", "nan"), "--exp_gain"),  # no number
        (("--set", "tongueOut=1"), "--set: tongueOut cannot be shown"),
        (("--set", "smile=9"), "--set: smile"),
        (("--preset", "grin"), "--preset"),
        (("--gain", "mouth"), "--gain"),  # no number
        (("--regions", "ears"), "--regions"),  # of no face
        (("--exp_gain", "1e30"), "--exp_gain"),  # nothing that it makes is a face
        (("--interpolate", "1"), "--interpolate"),  # from where to where
        (("--quality", "0"), "--quality"),  # out of range
        (("--min_confidence", "2"), "--min_confidence"),
        (("--source_face", "leftmost"), "left-right"),  # what can be chosen is told
        (("--neutral_face", "all"), "--neutral_face"),  # there is one neutral face
        (("--exp", "1"), "--exp"),  # no short forms: they break when options are added
        (("-o", CALM), "grace_hopper.jpg is an input"),  # the target would be lost
        (("-o", ROOT / "examples/../examples/inputs/astronaut.png"), "is an input"),  # the source
        (("-o", "p.json.png", "--save_params", CALM.with_suffix(".json"), "--neutral_img_fp",
          CALM.with_suffix(".json")), "--save_params"),  # the neutral face's file
        (("--source_face", "all"), "--source_face"),  # only targets can be several
        (("--target_face", "0"), "--target_face"),  # numbers start at 1
        (("--save_params", "p.txt"), "p.txt"),  # neither JSON nor NPZ
        (("--opt", "mask", "-o", "m.jpg"), "m.jpg"),  # JPEG has no transparency
        (("--opt", "ply", "-o", "m.png"), "m.png"),  # a mesh is no picture
        (("--onnx", "--engine", "torch"), "--onnx"),  # contradiction
        (("--config", "configs/none.yml"), "configs/none.yml"),  # no such config
        (("--frobnicate",), "--frobnicate"),  # no such option
        (("--show_flag", "maybe"), "--show_flag"),  # neither true nor false
    ],
)
def test_bad_usage(options, word):
    fails(run("-s", SMILE, "-t", CALM, *options), 2, word)


def test_sliders_need_no_source(reenact, tmp_path):
    params = tmp_path / "p.json"
    knobs = ("--set", "smile=0.6", "--preset", "wink_left", "--save_params", params)
    result = run("-t", CALM, *knobs, "-o", f"{tmp_path}{os.sep}")
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "grace_hopper_3d.jpg").is_file()
    content = json.loads(params.read_text())
    rows = dict(zip(content["result"][0]["regions"], content["result"][0]["expression"]))
    own = content["target"][0]["expression"]
    assert "source" not in content
    np.testing.assert_allclose(rows["brow_left"], own, atol=1e-6)  # nothing was asked of it
    assert rows["mouth_left"] != own and rows["eye_left"] != own


def test_steps_from_one_expression_to_the_other(reenact, tmp_path):
    result = reenact("--interpolate", 3, "--opt", "arkit,3d", "-o", tmp_path / "o.json")
    assert result.returncode == 0, result.stderr
    names = {f"o_{kind}_{k:03d}{end}" for k in range(3)
             for kind, end in (("arkit", ".json"), ("3d", ".jpg"))}
    assert {path.name for path in tmp_path.iterdir()} == names
    smiles = [
        json.loads((tmp_path / f"o_arkit_{k:03d}.json").read_text())["faces"][0]["weights"]
        for k in range(3)
    ]
    first, middle, last = (weights["mouthSmileLeft"] for weights in smiles)
    assert first < 0.5 < last and first <= middle <= last


def test_weights_of_a_picture_drive_another(reenact, tmp_path):
    weights, params = tmp_path / "w.csv", tmp_path / "p.json"
    assert run("-t", SMILE, "--opt", "arkit", "-o", weights).returncode == 0
    result = reenact("-o", tmp_path / "o.png", "--save_params", params, source=weights)
    assert result.returncode == 0 and "weights at 0 s" in result.stdout
    rows = json.loads(params.read_text())["result"][0]["expression"]
    assert len(rows) == 10 and np.abs(rows).max() > 1
    fails(reenact("--at", "x", source=weights), 2, "--at")
    weights.write_text("JawOpen,Ears\n0,1\n")
    fails(reenact("-o", tmp_path / "o.png", source=weights), 3, "w.csv", "'Ears'")


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ((), "--source_img_fp: give one, or --set"),
        (("--set", "smile=1", "--regions", "mouth"), "--regions"),
        (("--neutralise", "--neutral_img_fp", SMILE), "--neutral_img_fp"),
    ],
)
def test_what_needs_a_source(options, word):
    fails(run("-t", CALM, *options), 2, word)


@pytest.mark.parametrize(
    "spelling",
    [
        ("--driving", SMILE, "--target-img-fp", CALM, "--opt", "mask", "ply", "--output-fp"),
        ("-d", SMILE, "-t", CALM, "--opt", "mask", "--opt", "mask,ply", "-o"),
        ("--source_img_fp", SMILE, f"--target-img-fp={CALM}", "--opt", "ply, mask", "-o"),
    ],
)
def test_spellings_that_users_bring(reenact, tmp_path, spelling):
    result = run(*spelling, tmp_path / "out.png")
    assert result.returncode == 0, result.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"out_mask.png", "out_ply.ply"}


def test_all_kinds_by_one_word():
    args = face_reenactment.make_parser().parse_args(["-s", "a.png", "-t", "b.png", "--opt", "all"])
    assert list(face_reenactment.make_job(args).outputs) == list(VIEWS)


@pytest.mark.skipif(os.name != "posix", reason="signals are sent as on Unix")
@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_run_is_one_line_and_leaves_nothing(reenact, tmp_path, stop):
    """It waits for its target, a pipe that nobody writes to."""
    pipe, out = tmp_path / "pipe.png", tmp_path / "out.png"
    os.mkfifo(pipe)
    program = str(ROOT / "face_reenactment.py")
    command = [sys.executable, program, "-s", SMILE, "-t", pipe, "-o", out]
    heed = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # what runs us may ignore it
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, preexec_fn=heed
    ) as process:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.communicate(timeout=4)
        process.send_signal(stop)
        _, error = process.communicate(timeout=60)
    assert process.returncode == 130, error
    assert error.startswith("error: stopped") and error.count("\n") == 1
    assert not out.exists()


def test_the_neutral_face_is_chosen_by_itself(reenact, group, tmp_path):
    """A portrait as the neutral face of the second of several people."""
    result = reenact("--source_face", 2, "--neutral_img_fp", CALM, "-o", tmp_path / "o.png",
                     source=group)
    assert result.returncode == 0, result.stderr
    assert "face 2 of 3" in result.stdout and "neutral" in result.stdout


def test_what_is_replaced_is_said(everything, reenact, tmp_path):
    out = tmp_path / "out.png"
    first, second = (reenact("-o", out, source=everything[0] / "params.json") for _ in range(2))
    assert "in place of" not in first.stdout
    assert f"wrote {out}, in place of an older file" in second.stdout


def test_bad_config_names_the_key_and_the_nearest(tmp_path):
    config = tmp_path / "c.yml"
    config.write_text("checkpoint_fp: w.pth\nwiden_facto: 0.5\n")
    fails(run("-s", SMILE, "-t", CALM, "-c", config), 2, "c.yml", "widen_facto", "widen_factor")


def test_gpu_without_cuda_says_so(reenact):
    torch = pytest.importorskip("torch", reason="torch is not installed")
    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device")
    fails(reenact("--mode", "gpu"), 2, "CUDA")


@pytest.mark.parametrize(
    "content",
    [
        None,  # no such file
        b"",  # empty file
        b"this is text, not a picture",  # not an image
        SMILE.read_bytes()[:2000],  # a download that broke off
    ],
)
def test_unreadable_target(tmp_path, content):
    picture = tmp_path / "bad.png"
    if content is not None:
        picture.write_bytes(content)
    fails(run("-s", SMILE, "-t", picture), 3, "bad.png")


def test_a_pose_that_is_none_ends_in_one_line(everything, reenact, tmp_path):
    content = json.loads((everything[0] / "params.json").read_text())
    content["source"]["pose"] = np.zeros((3, 4)).tolist()
    params = tmp_path / "p.json"
    params.write_text(json.dumps(content))
    fails(reenact("--save_params", tmp_path / "q.json", source=params), 3, "p.json", "pose")
    assert not (tmp_path / "q.json").exists()


def test_damaged_parameter_file(reenact, tmp_path):
    params = tmp_path / "p.json"
    params.write_text('{"source": 5}')
    fails(reenact(source=params), 3, "p.json")


def test_no_face_leaves_no_output(reenact, tmp_path):
    sky, out = tmp_path / "sky.png", tmp_path / "out.png"
    cv2.imwrite(str(sky), np.full((200, 300, 3), (230, 180, 120), np.uint8))
    fails(reenact("-o", out, target=sky), 4, "sky.png")
    assert not out.exists()


def test_face_number_out_of_range(reenact):
    fails(reenact("--target_face", 7), 4, "7", "grace_hopper.jpg", "1 face")


def test_missing_weights_list_every_place_tried(tmp_path):
    """A config whose weights are nowhere, with an assets folder that is empty."""
    config = tmp_path / "c.yml"
    config.write_text("onnx_fp: weights/nowhere.onnx\nbfm_fp: configs/nowhere.npz\n")
    result = run("-s", SMILE, "-t", CALM, "-c", config, "--assets", tmp_path)
    fails(result, 5, str(ROOT / "configs/nowhere.npz"), str(tmp_path / "configs/nowhere.npz"))


def test_unwritable_output(reenact, tmp_path):
    blocker = tmp_path / "file"
    blocker.write_text("not a folder")
    fails(reenact("-o", blocker / "out.png"), 6, "out.png")
    assert blocker.read_text() == "not a folder"
