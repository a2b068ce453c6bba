"""bfm.bfm_onnx: the exported reconstruction gives the model's own vertices."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import face_arrays, save_arrays

from bfm import BFMModel
from bfm.bfm_onnx import convert_bfm_to_onnx


def test_graph_is_the_formula(tmp_path):
    pytest.importorskip("onnx", reason="onnx is not installed: the graph cannot be built")
    from models.runtime import onnxruntime

    bfm_fp = save_arrays(tmp_path / "m.npz", face_arrays())
    path = convert_bfm_to_onnx(tmp_path / "new" / "m.onnx", 6, 4, bfm_fp)
    rng = np.random.default_rng(0)
    feed = {
        "R": rng.normal(0, 1e-4, (3, 3)).astype(np.float32),
        "offset": rng.normal(0, 50, (3, 1)).astype(np.float32),
        "alpha_shp": rng.normal(0, 1, (6, 1)).astype(np.float32),
        "alpha_exp": rng.normal(0, 1, (4, 1)).astype(np.float32),
    }
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (vertices,) = session.run(["output"], feed)
    model = BFMModel(bfm_fp, 6, 4)
    column = model.u + model.w_shp @ feed["alpha_shp"] + model.w_exp @ feed["alpha_exp"]
    expected = feed["R"] @ column.reshape(-1, 3).T + feed["offset"]
    np.testing.assert_allclose(vertices, expected, atol=1e-3)
