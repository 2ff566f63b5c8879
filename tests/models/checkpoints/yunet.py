"""A YuNet file that knows faces by the colours of their five points.

Like the real one it takes a picture of 640x640 and gives twelve outputs, of which OpenCV makes
boxes, points and scores. A face is where all five colours lie within some 60 pixels of one
another; each point is the centre of its colour.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SIDE = 640
POINT_COLOURS = ((255, 0, 0), (0, 0, 255), (0, 255, 0), (255, 0, 255), (0, 255, 255))
"""RGB of the eyes, the nose and the mouth's corners, from left to right."""

_CELL, _WINDOW, _TOLERANCE = 8, 15, 100
_CHANNELS = {"cls": 1, "obj": 1, "bbox": 4, "kps": 10}


class _Graph:
    """Collects nodes; every method gives the name of what it made."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def constant(self, values: Any) -> str:
        array = np.asarray(values)
        kind = np.int64 if array.dtype.kind == "i" else np.float32
        name = f"constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(array.astype(kind), name))
        return name

    def op(self, kind: str, *inputs: str, to: str = "", **attributes: Any) -> str:
        name = to or f"value_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], name=name, **attributes))
        return name

    def mix(self, source: str, weights: Any, bias: Any = None) -> str:
        """A 1x1 convolution; ``weights`` is outputs x inputs."""
        kernel = np.asarray(weights, float)[:, :, None, None]
        inputs = [source, self.constant(kernel)]
        if bias is not None:
            inputs.append(self.constant(np.asarray(bias, float)))
        return self.op("Conv", *inputs)

    def clip(self, source: str) -> str:
        return self.op("Clip", source, self.constant(0.0), self.constant(1.0))

    def mean(self, source: str, size: int, **attributes: Any) -> str:
        return self.op("AveragePool", source, kernel_shape=[size, size], **attributes)

    def head(self, source: str, name: str, channels: int) -> None:
        rows = self.op("Transpose", source, perm=[0, 2, 3, 1])
        self.op("Reshape", rows, self.constant(np.array([1, -1, channels])), to=name)


def write(path: Path) -> None:
    """Write the ONNX file."""
    graph = _Graph()
    mass, points = _points(graph)
    score = _score(graph, mass, points)
    box = _box(graph, points)
    for name, source in (("cls", score), ("obj", score), ("bbox", box), ("kps", points)):
        graph.head(source, f"{name}_8", _CHANNELS[name])
    for stride in (16, 32):
        times = stride // _CELL
        coarse = graph.mean(score, times, strides=[times, times])
        for name, channels in _CHANNELS.items():
            nothing = graph.mix(coarse, np.zeros((channels, 1)))
            graph.head(nothing, f"{name}_{stride}", channels)
    outputs = [
        helper.make_tensor_value_info(
            f"{name}_{stride}", TensorProto.FLOAT, [1, (SIDE // stride) ** 2, channels]
        )
        for name, channels in _CHANNELS.items()
        for stride in (8, 16, 32)
    ]
    picture = helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, SIDE, SIDE])
    whole = helper.make_graph(graph.nodes, "yunet", [picture], outputs, graph.constants)
    opset = helper.make_opsetid("", 13)
    model = helper.make_model(whole, opset_imports=[opset], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, str(path))


def _points(graph: _Graph) -> tuple[str, str]:
    """For each cell of 8x8 pixels, what there is of the colours around it (5 channels), and
    the centre of each (10 channels, x y x y...), in cells and from the cell's corner."""
    bgr = np.array(POINT_COLOURS)[:, ::-1]
    differences = graph.mix("input", np.tile(np.eye(3), (5, 1)), -bgr.ravel())
    close = graph.op("Abs", differences)
    near = graph.mix(close, -np.kron(np.eye(5), np.ones((1, 3))) / _TOLERANCE, np.ones(5))
    marks = graph.op("Relu", near)
    y, x = np.mgrid[0:SIDE, 0:SIDE].astype(float)[:, None, None]
    moments = [graph.op("Mul", marks, graph.constant(places)) for places in (x, y)]
    everything = graph.op("Concat", marks, *moments, axis=1)
    cells = graph.mean(everything, _CELL, strides=[_CELL, _CELL])
    edge = _WINDOW // 2
    around = graph.mean(cells, _WINDOW, strides=[1, 1], pads=[edge] * 4, count_include_pad=1)
    mass, at_x, at_y = (graph.mix(around, np.eye(15)[i : i + 5]) for i in (0, 5, 10))
    some = graph.op("Add", mass, graph.constant(1e-9))
    count = SIDE // _CELL
    corners = np.mgrid[0:count, 0:count].astype(float)[:, None, None] * _CELL
    offsets = [
        graph.op("Sub", graph.op("Div", moment, some), graph.constant(corner))
        for moment, corner in ((at_x, corners[1]), (at_y, corners[0]))
    ]
    paired = np.zeros((10, 10))
    for point in range(5):
        paired[2 * point, point] = paired[2 * point + 1, 5 + point] = 1 / _CELL
    return mass, graph.mix(graph.op("Concat", *offsets, axis=1), paired)


def _score(graph: _Graph, mass: str, points: str) -> str:
    """1 in the one cell in which the nose lies, if every colour is there; else 0."""
    nose = graph.mix(points, np.eye(10)[4:6], [-0.5, -0.5])
    inside = graph.clip(graph.mix(graph.op("Abs", nose), -50 * np.eye(2), [26.0, 26.0]))
    pixels = graph.mix(mass, (_CELL * _WINDOW) ** 2 * np.eye(5), [-2.0] * 5)
    both = graph.op("Concat", inside, graph.clip(pixels), axis=1)
    return graph.clip(graph.mix(both, np.ones((1, 7)), [-6.0]))


def _box(graph: _Graph, points: str) -> str:
    """The points' middle, and the logarithm of 2.2 times the distance of the eyes."""
    middle = graph.mix(points, np.tile(np.eye(2), 5) / 5)
    apart = graph.mix(points, np.hstack([-np.eye(2), np.eye(2), np.zeros((2, 6))]))
    square = graph.mix(graph.op("Mul", apart, apart), np.full((1, 2), 2.2**2), [1e-3])
    side = graph.op("Log", graph.op("Sqrt", square))
    return graph.op("Concat", middle, side, side, axis=1)
