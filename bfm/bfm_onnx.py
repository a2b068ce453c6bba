"""The 3DMM's reconstruction as an ONNX graph, for programs that want it outside numpy."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from bfm.bfm import BFMModel
from utils.io import PathLike, write_bytes

_OPSET = 13


def convert_bfm_to_onnx(
    bfm_onnx_fp: PathLike,
    shape_dim: int = 40,
    exp_dim: int = 10,
    bfm_fp: PathLike | None = None,
) -> Path:
    """Write `R @ (u + w_shp @ alpha_shp + w_exp @ alpha_exp) + offset` as an ONNX graph.

    Inputs `R` (3, 3), `offset` (3, 1), `alpha_shp` (shape_dim, 1), `alpha_exp` (exp_dim, 1);
    output `output` (3, N); all float32, in the coordinates of the network crop (y up).

    Parameters
    ----------
    bfm_onnx_fp : where the graph goes.
    bfm_fp : the 3DMM; by default the `.pkl` of the same name in `configs/`.
    """
    from onnx import TensorProto, checker, helper, numpy_helper

    model = BFMModel(
        bfm_fp or Path("configs") / Path(bfm_onnx_fp).with_suffix(".pkl").name, shape_dim, exp_dim
    )
    # x0 y0 z0 x1 … -> rows x, y, z, so that the graph needs no transpose
    planes = {
        name: np.ascontiguousarray(basis.reshape(-1, 3, basis.shape[1]).transpose(1, 0, 2))
        for name, basis in (("u", model.u), ("w_shp", model.w_shp), ("w_exp", model.w_exp))
    }
    count = model.num_vertices
    nodes = [
        helper.make_node("MatMul", ["w_shp", "alpha_shp"], ["shape"]),
        helper.make_node("MatMul", ["w_exp", "alpha_exp"], ["expression"]),
        helper.make_node("Sum", ["u", "shape", "expression"], ["columns"]),
        helper.make_node("Reshape", ["columns", "plane_shape"], ["face"]),
        helper.make_node("MatMul", ["R", "face"], ["rotated"]),
        helper.make_node("Add", ["rotated", "offset"], ["output"]),
    ]
    constants = [numpy_helper.from_array(array, name) for name, array in planes.items()]
    constants.append(numpy_helper.from_array(np.array([3, count], np.int64), "plane_shape"))
    inputs = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in (
            ("R", (3, 3)),
            ("offset", (3, 1)),
            ("alpha_shp", (shape_dim, 1)),
            ("alpha_exp", (exp_dim, 1)),
        )
    ]
    output = helper.make_tensor_value_info("output", TensorProto.FLOAT, (3, count))
    graph = helper.make_graph(nodes, "bfm", inputs, [output], constants)
    onnx_model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=8
    )
    checker.check_model(onnx_model)
    return write_bytes(bfm_onnx_fp, onnx_model.SerializeToString())
