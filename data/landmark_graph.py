"""The public code's landmark network: a frozen TensorFlow graph, `68lm_detector.pb`.

From five points a small regression predicts a square around the face; the network sees it at 224 px
and gives 68 offsets to a mean face. TensorFlow runs the graph, or onnxruntime once it is converted:
that happens by itself where tf2onnx is installed, and afterwards TensorFlow is not needed.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from scipy.io import loadmat

from data.detection import DlibDetector, Face
from data.landmarks import five_points
from data.onnx_model import OnnxModel
from options.data_options import DetectionOptions
from util.atomic import write_bytes
from util.errors import InputError
from util.model_files.file_kind import foreign_kind, is_text
from util.model_files.mat_file import foreign_data

GRAPH_NAME, CONVERTED_NAME = "68lm_detector.pb", "68lm_detector.onnx"
REGRESSION_NAME, MEAN_FACE_NAME = "BBRegressorParam_r.mat", "test_mean_face.txt"
INPUT, OUTPUT = "input_imgs:0", "lm:0"
"""Tensors of the graph: (1, 224, 224, 3) BGR in 0..255, and 136 offsets in pixels, y up."""
GRAPH_PLACE = (
    f"{GRAPH_NAME} of the public code's 68 landmark archive "
    "(github.com/sicxu/Deep3DFaceRecon_pytorch)"
)
"""Which file the graph is, and who publishes it."""
SIDE = 224
_HEAD = 512
"""Bytes of a file that are looked at to tell a graph from text."""
_LARGEST_BOX = 10
"""Side of the box over that of the image; what is larger shows no face."""


class LandmarkGraphDetector:
    """The public landmarks; dlib finds the faces where no five points are given.

    Raises:
        InputError: a file of the public code is missing or damaged, or nothing that is installed
            can run the graph.
    """

    def __init__(self, options: DetectionOptions, *, convert: bool = True) -> None:
        folder = Path(options.lm_folder)
        self._finder = DlibDetector(options)
        self._regression = BoxRegression.read(find_file(folder, REGRESSION_NAME))
        self._mean_face = read_mean_face(find_file(folder, MEAN_FACE_NAME))
        self._network = open_graph(folder, convert=convert)
        self._network.check()

    def detect(
        self, image: np.ndarray, *, largest_only: bool = False, tilted: bool = True
    ) -> list[Face]:
        """The faces that dlib finds, largest first, with the graph's landmarks."""
        return [
            replace(face, landmarks_px=self.landmarks_from_five(image, face.landmarks_px))
            for face in self._finder.detect(image, largest_only=largest_only, tilted=tilted)
        ]

    def landmarks_from_five(self, image: np.ndarray, five: np.ndarray) -> np.ndarray:
        """The 68 landmarks (68, 2) of the face marked by five points (5, 2).

        Positions scale about the corner of the first pixel's centre, as in the public code.
        """
        left, top, side = self._regression.box(five_points(five))
        if not 1 <= side <= _LARGEST_BOX * max(image.shape[:2]):
            raise InputError(
                f"the five points give a box of {side} pixels in an image of {image.shape[1]} x "
                f"{image.shape[0]}; correct or delete them"
            )
        points = self._network.run(face_input(image, left, top, side)) + self._mean_face
        points[:, 1] = SIDE - 1 - points[:, 1]
        return points * (side / SIDE) + [left, top]


@dataclass(frozen=True)
class BoxRegression:
    """Two layers that predict a face's square from five points."""

    weight1: np.ndarray
    """(hidden, 10)"""
    bias1: np.ndarray
    """(hidden,)"""
    weight2: np.ndarray
    """(3, hidden)"""
    bias2: np.ndarray
    """(3,)"""

    @classmethod
    def read(cls, path: Path) -> BoxRegression:
        """Read `BBRegressorParam_r.mat`."""
        if kind := foreign_kind(path):
            raise InputError(f"{path}: not a MATLAB file but {kind}")
        try:
            content = loadmat(path)
            w1, b1, w2, b2 = (np.asarray(content[k], np.float64) for k in ("W1", "B1", "W2", "B2"))
        except Exception as error:
            # A damaged file reaches every part of scipy's reader.
            raise InputError(
                f"{path}: damaged or another file (W1, B1, W2, B2 are expected: {error}); copy it "
                "again from util/ of the public code"
            ) from error
        shapes = (w1.shape[1:], b1.size, w2.shape, b2.size)
        if shapes != ((10,), len(w1), (3, len(w1)), 3):
            raise InputError(f"{path}: W1, B1, W2, B2 are not those of 5 points and a box")
        return cls(w1, b1.ravel(), w2, b2.ravel())

    def box(self, five: np.ndarray) -> tuple[int, int, int]:
        """Left, top and side in whole pixels; a side of 0 for points that show no face."""
        middle = five.mean(axis=0)
        spread = np.sqrt(np.square(five - middle).sum() / 5)
        if not spread > 0:
            return 0, 0, 0
        hidden = np.tanh(self.weight1 @ ((five - middle) / spread).ravel() + self.bias1)
        x, y, zoom = self.weight2 @ hidden + self.bias2
        edges = np.array([*(np.array([x, y]) * spread + middle), SIDE * spread / zoom])
        if not (np.isfinite(edges).all() and np.abs(edges).max() < 1e6):
            return 0, 0, 0
        left, top, side = np.rint(edges).astype(int).tolist()
        return left, top, side


def read_mean_face(path: Path) -> np.ndarray:
    """Read `test_mean_face.txt`: (68, 2) in pixels of the 224 px square, y up."""
    if kind := foreign_kind(path):
        raise InputError(f"{path}: not a list of numbers but {kind}")
    try:
        numbers = np.array(path.read_text(encoding="utf-8-sig").split(), dtype=np.float64)
    except ValueError as error:
        raise InputError(f"{path}: not a list of numbers; copy it again") from error
    if numbers.size != 136 or not np.isfinite(numbers).all():
        raise InputError(f"{path}: holds {numbers.size} numbers where 136 were expected")
    return numbers.reshape(68, 2)


def face_input(image: np.ndarray, left: int, top: int, side: int) -> np.ndarray:
    """What the network sees of an image: (1, 224, 224, 3) float32, BGR in 0..255.

    Resized as OpenCV does (cubic with a = -0.75, without smoothing), black outside of the image.
    Only the pixels that are used are looked at, however large the box is.
    """
    rows, row_weights = _taps(top, side, image.shape[0])
    columns, column_weights = _taps(left, side, image.shape[1])
    patch = image[rows.ravel()][:, columns.ravel()].reshape(SIDE, 4, SIDE, 4, 3)
    resized = np.einsum("ra,cb,racbk->rck", row_weights, column_weights, patch, optimize=True)
    rounded = np.clip(np.rint(resized), 0, 255)
    return np.ascontiguousarray(rounded[None, :, :, ::-1], dtype=np.float32)


def _taps(start: int, side: int, limit: int) -> tuple[np.ndarray, np.ndarray]:
    """Pixels (224, 4) that each resized pixel is made of along one axis, and their weights.

    Beyond the box its edge is repeated; beyond the image, which may end before, all is zero.
    """
    centre = (np.arange(SIDE) + 0.5) * side / SIDE - 0.5
    first = np.floor(centre).astype(int) - 1
    taps = first[:, None] + np.arange(4)
    x = np.abs(centre[:, None] - taps)
    a = -0.75  # Keys (1981): |x| < 1 and 1 < |x| < 2
    near = ((a + 2) * x - (a + 3)) * x**2 + 1
    far = ((a * x - 5 * a) * x + 8 * a) * x - 4 * a
    weights = np.where(x <= 1, near, far)
    pixels = np.clip(taps, 0, side - 1) + start
    inside = (pixels >= 0) & (pixels < limit)
    return np.clip(pixels, 0, limit - 1), weights * inside


def find_file(folder: Path, name: str) -> Path:
    """A file of the public code: in the folder of its graph, or in `util/` as it ships.

    Raises:
        InputError: it is in neither.
    """
    places = (folder / name, Path(__file__).resolve().parent.parent / "util" / name)
    for path in places:
        if path.is_file():
            return path
    raise InputError(
        f"--detector tensorflow needs {places[0]}, which is not there; copy it from util/ of the "
        "public code (github.com/sicxu/Deep3DFaceRecon_pytorch), or leave the flag out"
    )


def open_graph(folder: Path, *, convert: bool = True) -> GraphNetwork:
    """The network by whatever can run it: onnxruntime, else TensorFlow.

    Args:
        folder: of the graph.
        convert: write the converted graph where that can be done and has not been.

    Raises:
        InputError: the graph is missing, or neither can run it.
    """
    graph, converted = folder / GRAPH_NAME, folder / CONVERTED_NAME
    check_graph_files(folder)
    if convert and would_be_converted(folder):
        convert_graph(graph, converted)
    if lacking := lacking_package(folder):
        raise InputError(lacking)
    if _runs_converted(folder):
        return OnnxGraph(converted)
    return TensorFlowGraph(graph)


def check_graph_files(folder: Path) -> None:
    """See that there is a graph and nothing else under its name, whatever is installed.

    Raises:
        InputError: there is none, or the one that would be used is a web page or the like.
    """
    graph, converted = folder / GRAPH_NAME, folder / CONVERTED_NAME
    if not graph.is_file() and not converted.is_file():
        raise InputError(
            f"--detector tensorflow needs {graph}, which is not there; it is {GRAPH_PLACE}, and "
            "--lm_folder names another place"
        )
    if graph.is_file() and not _runs_converted(folder):
        _refuse_foreign(graph)


def lacking_package(folder: Path) -> str | None:
    """Which package the graph that is there would need; None where it can be run."""
    graph, converted = folder / GRAPH_NAME, folder / CONVERTED_NAME
    if _runs_converted(folder) or (graph.is_file() and _installed("tensorflow")):
        return None
    if converted.is_file():
        return f"{converted} needs the package onnxruntime: pip install onnxruntime"
    return (
        f"{graph} needs TensorFlow: pip install tensorflow; with tf2onnx and onnxruntime beside it "
        f"the graph is converted to {converted.name} once, which needs onnxruntime only"
    )


def _runs_converted(folder: Path) -> bool:
    """Whether onnxruntime runs the converted graph, so that the original is not looked at."""
    return (folder / CONVERTED_NAME).is_file() and _installed("onnxruntime")


def _refuse_foreign(graph: Path) -> None:
    kind = foreign_data(graph)
    if kind is None:
        with graph.open("rb") as file:
            # The names in a graph stand between bytes that no text has.
            kind = "text" if is_text(file.read(_HEAD)) else None
    if kind is not None:
        raise InputError(
            f"{graph}: not a TensorFlow graph but {kind}; the right one is {GRAPH_PLACE}"
        )


def would_be_converted(folder: Path) -> bool:
    """Whether a run would first convert the graph."""
    packages = ("onnxruntime", "tensorflow", "tf2onnx")
    return not (folder / CONVERTED_NAME).is_file() and all(map(_installed, packages))


def convert_graph(graph: Path, converted: Path) -> None:
    """Write the graph in ONNX's format; where the folder is read-only, nothing happens."""
    import tf2onnx.convert  # pyright: ignore[reportMissingImports]

    definition = read_graph(graph)
    model, _ = tf2onnx.convert.from_graph_def(
        definition, input_names=[INPUT], output_names=[OUTPUT], opset=17
    )
    try:
        write_bytes(converted, model.SerializeToString())
    except OSError:
        return
    print(f"Landmarks: {graph} converted to {converted.name}; TensorFlow is no longer needed")


def read_graph(path: Path) -> Any:
    """A frozen graph's definition, checked to be the landmark network's.

    Raises:
        InputError: damaged or another graph.
    """
    _refuse_foreign(path)
    definition = _tensorflow().compat.v1.GraphDef()
    try:
        definition.ParseFromString(path.read_bytes())
    except Exception as error:  # protobuf's DecodeError, whose module differs by version
        raise InputError(f"{path}: damaged or not a frozen TensorFlow graph; copy it again") from (
            error
        )
    names = {node.name for node in definition.node}
    if missing := [n for n in (INPUT, OUTPUT) if n.removesuffix(":0") not in names]:
        raise InputError(
            f"{path}: has no tensor {missing[0]}, so it is another graph; give the public code's "
            f"{GRAPH_NAME}"
        )
    return definition


class GraphNetwork(ABC):
    """Runs the landmark network, loaded at the first use and again after unpickling."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._loaded: Any = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_loaded": None}

    def check(self) -> None:  # noqa: B027 - not every way can tell
        """Say before the first photo what cannot run, where that costs no seconds."""

    def run(self, face: np.ndarray) -> np.ndarray:
        """Offsets (68, 2) for a face from `face_input`."""
        if self._loaded is None:
            self._loaded = self._load()
        offsets = np.asarray(self._offsets(face), dtype=np.float64)
        if offsets.size != 136:
            raise InputError(
                f"{self.path}: gives {offsets.size} numbers where 136 were expected; it is another "
                f"graph than the public code's {GRAPH_NAME}"
            )
        return offsets.reshape(68, 2)

    @abstractmethod
    def _load(self) -> Any:
        """What runs the graph, made at the first face and again after unpickling."""

    @abstractmethod
    def _offsets(self, face: np.ndarray) -> Any:
        """The graph's output for a face from `face_input`, 136 numbers in any shape."""


class OnnxGraph(GraphNetwork):
    """By onnxruntime, from the converted file."""

    def check(self) -> None:
        """Open the file.

        Raises:
            InputError: damaged, or another network.
        """
        shape = OnnxModel(self.path).input_shape
        if list(shape[1:]) != [SIDE, SIDE, 3]:
            raise InputError(
                f"{self.path}: its input is {shape} where (1, {SIDE}, {SIDE}, 3) was expected; "
                f"convert the public code's {GRAPH_NAME}, or delete this file"
            )

    def _load(self) -> OnnxModel:
        return OnnxModel(self.path)

    def _offsets(self, face: np.ndarray) -> Any:
        return self._loaded.run(face)[0]


class TensorFlowGraph(GraphNetwork):
    """By TensorFlow 2, in a session as of version 1, on the CPU."""

    def _load(self) -> Any:
        v1 = _tensorflow().compat.v1
        definition = read_graph(self.path)
        with v1.Graph().as_default() as graph:
            v1.import_graph_def(definition, name="net")
        # Several processes prepare photos; the first would take the whole GPU from the others.
        settings = v1.ConfigProto(device_count={"GPU": 0}, intra_op_parallelism_threads=1)
        return v1.Session(graph=graph, config=settings)

    def _offsets(self, face: np.ndarray) -> Any:
        return self._loaded.run(f"net/{OUTPUT}", feed_dict={f"net/{INPUT}": face})


def _tensorflow() -> Any:
    # Its reports about the CPU's instructions would hide our own lines.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    import tensorflow  # pyright: ignore[reportMissingImports, reportMissingModuleSource]

    return tensorflow


def _installed(package: str) -> bool:
    return find_spec(package) is not None
