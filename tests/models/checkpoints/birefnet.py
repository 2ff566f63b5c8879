"""A BiRefNet file whose network knows one thing: what is red stands in front."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SIDE = 1024
_MEAN, _STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
_REDNESS = np.array([1.0, -0.5, -0.5])
_STEEPNESS, _ENOUGH = 40.0, 0.25


def write(path: Path) -> None:
    """Write the ONNX file: a normalised picture in, 1x3x1024x1024, logits out, 1x1x1024x1024.

    The logit is 40 times what the redness, R - (G + B) / 2 of values from 0 to 1, has over
    0.25. A second output stands for the side outputs that exported networks may have.
    """
    weight = _STEEPNESS * _REDNESS * _STD
    bias = _STEEPNESS * ((_REDNESS * _MEAN).sum() - _ENOUGH)
    constants = [
        numpy_helper.from_array(weight.reshape(1, 3, 1, 1).astype(np.float32), "weight"),
        numpy_helper.from_array(np.array([bias], np.float32), "bias"),
    ]
    nodes = [
        helper.make_node("Conv", ["input_image", "weight", "bias"], ["output_image"]),
        helper.make_node("Neg", ["output_image"], ["side_output"]),
    ]
    square = [SIDE, SIDE]
    graph = helper.make_graph(
        nodes,
        "birefnet",
        [helper.make_tensor_value_info("input_image", TensorProto.FLOAT, [1, 3, *square])],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 1, *square])
            for name in ("output_image", "side_output")
        ],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, str(path))
