"""What code written for 3DDFA_V2 imports and calls (SPEC section 6)."""

from __future__ import annotations

import importlib
import inspect

import numpy as np
import pytest
import yaml

from utils.assets import ASSETS_ENV

SURFACE = [
    ("FaceBoxes", "FaceBoxes", "timer_flag=False"),
    ("FaceBoxes.FaceBoxes", "FaceBoxes", "timer_flag=False"),
    ("FaceBoxes.FaceBoxes", "FaceBoxes.__call__", "self img"),
    ("FaceBoxes.FaceBoxes_ONNX", "FaceBoxes_ONNX", "timer_flag=False"),
    ("FaceBoxes.utils.timer", "Timer", ""),
    ("FaceBoxes.utils.timer", "Timer.tic", "self"),
    ("FaceBoxes.utils.timer", "Timer.toc", "self average=True"),
    ("TDDFA", "TDDFA.__call__", "self img objs crop_policy='box'"),
    ("TDDFA", "TDDFA.recon_vers", "self param_lst roi_box_lst dense_flag=False"),
    ("TDDFA_ONNX", "TDDFA_ONNX.__call__", "self img objs crop_policy='box'"),
    ("bfm", "BFMModel", "bfm_fp shape_dim=40 exp_dim=10"),
    ("bfm.bfm", "BFMModel", "bfm_fp shape_dim=40 exp_dim=10"),
    ("bfm.bfm_onnx", "convert_bfm_to_onnx", "bfm_onnx_fp shape_dim=40 exp_dim=10"),
    ("utils.functions", "get_suffix", "filename"),
    ("utils.functions", "crop_img", "img roi_box"),
    ("utils.functions", "parse_roi_box_from_bbox", "bbox"),
    ("utils.functions", "parse_roi_box_from_landmark", "pts"),
    ("utils.functions", "calc_hypotenuse", "pts"),
    ("utils.functions", "plot_image", "img"),
    (
        "utils.functions",
        "draw_landmarks",
        "img pts style='fancy' wfp=None show_flag=False dense_flag=False",
    ),
    ("utils.functions", "cv_draw_landmark", "img_ori pts box=None color=(0, 255, 0) size=1"),
    (
        "utils.render",
        "render",
        "img ver_lst tri alpha=0.6 show_flag=False wfp=None with_bg_flag=True",
    ),
    (
        "utils.render_ctypes",
        "render",
        "img ver_lst tri alpha=0.6 show_flag=False wfp=None with_bg_flag=True",
    ),
    ("utils.depth", "depth", "img ver_lst tri show_flag=False wfp=None with_bg_flag=True"),
    ("utils.pncc", "pncc", "img ver_lst tri show_flag=False wfp=None with_bg_flag=True"),
    (
        "utils.uv",
        "uv_tex",
        "img ver_lst tri uv_h=256 uv_w=256 uv_c=3 show_flag=False wfp=None",
    ),
    ("utils.pose", "calc_pose", "param"),
    ("utils.pose", "viz_pose", "img param_lst ver_lst show_flag=False wfp=None"),
    ("utils.serialization", "ser_to_ply", "ver_lst tri height wfp reverse=True"),
    ("utils.serialization", "ser_to_ply_single", "ver_lst tri height wfp reverse=True"),
    ("utils.serialization", "ser_to_ply_multiple", "ver_lst tri height wfp reverse=True"),
    ("utils.serialization", "ser_to_obj", "img ver_lst tri height wfp"),
    ("utils.serialization", "ser_to_obj_single", "img ver_lst tri height wfp"),
    ("utils.serialization", "ser_to_obj_multiple", "img ver_lst tri height wfp"),
    ("utils.io", "_load", "fp"),
    ("utils.io", "_dump", "wfp obj"),
    ("utils.tddfa_util", "str2bool", "*"),
    ("utils.tddfa_util", "load_model", "model checkpoint_fp"),
    ("utils.tddfa_util", "_parse_param", "param"),
    ("utils.tddfa_util", "similar_transform", "pts3d roi_box size"),
    ("utils.tddfa_util", "_to_ctype", "arr"),
    ("utils.onnx", "convert_to_onnx", "**"),
    ("models", "mobilenet", "**"),
    ("models", "resnet22", "**"),
    ("Sim3DR", "get_normal", "vertices triangles"),
    (
        "Sim3DR",
        "rasterize",
        "vertices triangles colors bg=None height=None width=None channel=None reverse=False",
    ),
    ("Sim3DR", "RenderPipeline.__call__", "self vertices triangles bg texture=None"),
]


@pytest.mark.parametrize("module, name, parameters", SURFACE)
def test_names_order_and_defaults(module, name, parameters):
    thing = importlib.import_module(module)
    for part in name.split("."):
        thing = getattr(thing, part)
    ours = list(inspect.signature(thing).parameters.values())
    if parameters == "**":
        assert ours[-1].kind is inspect.Parameter.VAR_KEYWORD
        return
    if parameters == "*":
        assert len(ours) == 1
        return
    split = parameters.replace(", ", ",").split()
    found = []
    for parameter in ours[: len(split)]:
        default = "" if parameter.default is parameter.empty else f"={parameter.default!r}"
        found.append((parameter.name + default).replace(", ", ","))
    assert found == split
    # what we have added must not be needed
    assert all(
        p.default is not p.empty or p.kind in (p.VAR_KEYWORD, p.VAR_POSITIONAL)
        for p in ours[len(split) :]
    )


def test_render_pipeline_takes_the_originals_keywords():
    from Sim3DR import RenderPipeline

    RenderPipeline(
        intensity_ambient=0.3,
        color_ambient=(1, 1, 1),
        intensity_directional=0.6,
        color_directional=(1, 1, 1),
        intensity_specular=0.1,
        specular_exp=5,
        light_pos=(0, 0, 5),
        view_pos=(0, 0, 5),
    )


@pytest.fixture
def upstream(assets, torch, monkeypatch, tmp_path):
    """The config of the original's programs, which know nothing of --assets."""
    monkeypatch.setenv(ASSETS_ENV, str(assets))
    monkeypatch.chdir(tmp_path)
    with open(assets / "configs" / "mb05_120x120.yml") as stream:
        return yaml.load(stream, Loader=yaml.SafeLoader)


def test_demo_calls(upstream, picture, tmp_path):
    """demo.py: every option on one picture, engines as its --onnx flag chooses."""
    from FaceBoxes import FaceBoxes
    from TDDFA import TDDFA
    from utils.depth import depth
    from utils.functions import draw_landmarks, get_suffix
    from utils.pncc import pncc
    from utils.pose import viz_pose
    from utils.render import render
    from utils.serialization import ser_to_obj, ser_to_ply
    from utils.tddfa_util import str2bool
    from utils.uv import uv_tex

    tddfa = TDDFA(gpu_mode=False, **upstream)
    face_boxes = FaceBoxes()
    img = picture("trump_hillary")
    boxes = face_boxes(img)
    assert len(boxes) == 2
    param_lst, roi_box_lst = tddfa(img, boxes)
    show = str2bool("false")
    sparse = tddfa.recon_vers(param_lst, roi_box_lst, dense_flag=False)
    ver_lst = tddfa.recon_vers(param_lst, roi_box_lst, dense_flag=True)

    def wfp(option, suffix=".jpg"):
        return f"examples/results/trump_hillary_{option}{get_suffix('x' + suffix)}"

    draw_landmarks(img, sparse, show_flag=show, dense_flag=False, wfp=wfp("2d_sparse"))
    draw_landmarks(img, ver_lst, show_flag=show, dense_flag=True, wfp=wfp("2d_dense"))
    render(img, ver_lst, tddfa.tri, alpha=0.6, show_flag=show, wfp=wfp("3d"))
    depth(img, ver_lst, tddfa.tri, show_flag=show, wfp=wfp("depth"), with_bg_flag=True)
    pncc(img, ver_lst, tddfa.tri, show_flag=show, wfp=wfp("pncc"), with_bg_flag=True)
    uv_tex(img, ver_lst, tddfa.tri, show_flag=show, wfp=wfp("uv_tex"))
    viz_pose(img, param_lst, sparse, show_flag=show, wfp=wfp("pose"))
    ser_to_ply(ver_lst, tddfa.tri, height=img.shape[0], wfp=wfp("ply", ".ply"))
    ser_to_obj(img, ver_lst, tddfa.tri, height=img.shape[0], wfp=wfp("obj", ".obj"))
    written = [path for path in (tmp_path / "examples" / "results").iterdir()]
    assert len(written) == 9
    assert all(path.stat().st_size > 1000 for path in written)


def test_video_calls(upstream, picture):
    """demo_video.py and demo_video_smooth.py: RGB frames turned by a negative stride."""
    from FaceBoxes.FaceBoxes_ONNX import FaceBoxes_ONNX
    from TDDFA_ONNX import TDDFA_ONNX
    from utils.functions import cv_draw_landmark
    from utils.render import render

    face_boxes, tddfa = FaceBoxes_ONNX(), TDDFA_ONNX(**upstream)
    frame = picture("JianzhuGuo")[..., ::-1]
    frame_bgr = frame[..., ::-1]
    boxes = [face_boxes(frame_bgr)[0]]
    param_lst, roi_box_lst = tddfa(frame_bgr, boxes)
    ver = tddfa.recon_vers(param_lst, roi_box_lst, dense_flag=False)[0]
    # refine, as the programs do on the first frame
    param_lst, roi_box_lst = tddfa(frame_bgr, [ver], crop_policy="landmark")
    refined = tddfa.recon_vers(param_lst, roi_box_lst, dense_flag=False)[0]
    assert np.abs(refined[:2] - ver[:2]).mean() < 5
    x0, y0, x1, y1 = roi_box_lst[0]
    assert abs(x1 - x0) * abs(y1 - y0) > 2020  # "too small" starts detection anew
    drawn = cv_draw_landmark(frame_bgr, np.mean([ver, refined], axis=0))
    assert (drawn != frame_bgr).any()
    dense = tddfa.recon_vers(param_lst, roi_box_lst, dense_flag=True)[0]
    assert cv_draw_landmark(frame_bgr, dense, size=1).shape == frame.shape
    assert render(frame_bgr, [dense], tddfa.tri, alpha=0.7).shape == frame.shape


def test_latency_calls(upstream, picture):
    """latency.py: a timer around each step."""
    from FaceBoxes.FaceBoxes_ONNX import FaceBoxes_ONNX
    from FaceBoxes.utils.timer import Timer
    from TDDFA_ONNX import TDDFA_ONNX

    face_boxes, tddfa = FaceBoxes_ONNX(timer_flag=True), TDDFA_ONNX(**upstream)
    timers = {"detect": Timer(), "regress": Timer(), "reconstruct": Timer()}
    img = picture("JianzhuGuo")
    for _ in range(2):
        timers["detect"].tic()
        boxes = face_boxes(img)
        timers["detect"].toc()
        timers["regress"].tic()
        param_lst, roi_box_lst = tddfa(img, boxes)
        timers["regress"].toc()
        timers["reconstruct"].tic()
        tddfa.recon_vers(param_lst, roi_box_lst, dense_flag=True)
        timers["reconstruct"].toc()
    assert all(timer.average_time > 0 for timer in timers.values())
    assert isinstance(tddfa.tri, np.ndarray)
    assert (tddfa.tri.shape, tddfa.tri.dtype) == ((76073, 3), np.int32)
