"""The public landmark graph: what it is shown, the way back, and what runs it."""

from __future__ import annotations

import pickle
import sys
import types
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.io import savemat
from torch.nn import functional

from data import landmark_graph
from data.detection import create_detector
from data.landmark_graph import (
    CONVERTED_NAME,
    GRAPH_NAME,
    LandmarkGraphDetector,
    OnnxGraph,
    TensorFlowGraph,
    face_input,
    read_graph,
)
from data.landmarks import five_from_68
from options.data_options import DetectionOptions
from util.errors import InputError

FIVE = np.array([[30.0, 30], [50, 31], [41, 40], [33, 50], [48, 51]])


@pytest.fixture
def lm_folder(tmp_path: Path) -> Path:
    """The public code's files besides the graph, with random numbers of their shapes."""
    random = np.random.default_rng(0)
    folder = tmp_path / "lm_model"
    folder.mkdir()
    regression = {
        "W1": random.normal(0, 0.3, (6, 10)),
        "B1": random.normal(0, 0.3, (6, 1)),
        "W2": random.normal(0, 0.1, (3, 6)),
        # Left and top of the box, and 224 over its side, in units of the points' spread.
        "B2": np.array([[-3.0], [-3.2], [35.0]]),
    }
    savemat(folder / "BBRegressorParam_r.mat", regression)
    np.savetxt(folder / "test_mean_face.txt", random.uniform(20, 200, 136))
    return folder


def options_of(folder: Path) -> DetectionOptions:
    return DetectionOptions(detector="tensorflow", lm_folder=str(folder))


GRAPH_BYTES = b"graph \x12 input_imgs conv lm"
"""What `_FakeTensorFlow` takes for the landmark graph; as in a true one, not all is text."""
COLOUR_MATRIX = np.random.default_rng(5).normal(0, 0.02, (3, 136)).astype(np.float32)
"""What the stand-ins for the network multiply the mean colour by."""


def expected_offsets(face: np.ndarray) -> np.ndarray:
    return (face.mean(axis=(1, 2)) @ COLOUR_MATRIX).reshape(68, 2)


def write_onnx_graph(path: Path) -> Path:
    """The names that tf2onnx gives."""
    onnx = pytest.importorskip("onnx")
    from onnx import TensorProto, helper, numpy_helper

    graph = helper.make_graph(
        [
            helper.make_node("ReduceMean", ["input_imgs:0"], ["mean"], axes=[1, 2], keepdims=0),
            helper.make_node("MatMul", ["mean", "w"], ["lm:0"]),
        ],
        "lm",
        [helper.make_tensor_value_info("input_imgs:0", TensorProto.FLOAT, [1, 224, 224, 3])],
        [helper.make_tensor_value_info("lm:0", TensorProto.FLOAT, [1, 136])],
        [numpy_helper.from_array(COLOUR_MATRIX, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
    model.ir_version = 8
    onnx.save(model, path)
    return path


def write_tensorflow_graph(path: Path) -> Path:
    """A frozen graph with the public one's tensor names."""
    tf = pytest.importorskip("tensorflow")
    v1 = tf.compat.v1
    with v1.Graph().as_default() as graph:
        images = v1.placeholder(tf.float32, [1, 224, 224, 3], name="input_imgs")
        v1.matmul(v1.reduce_mean(images, axis=[1, 2]), v1.constant(COLOUR_MATRIX), name="lm")
    path.write_bytes(graph.as_graph_def().SerializeToString())
    return path


def public_landmarks(folder: Path, image: np.ndarray, five: np.ndarray) -> np.ndarray:
    """The public code's steps from five points to 68, written as they are described."""
    from scipy.io import loadmat

    p = loadmat(folder / "BBRegressorParam_r.mat")
    centred = five - five.mean(axis=0)
    rms = np.sqrt((centred**2).sum() / 5)
    data = (centred / rms).reshape(10, 1)
    hidden = 2 / (1 + np.exp(-2 * (p["W1"] @ data + p["B1"]))) - 1
    out = (p["W2"] @ hidden + p["B2"]).ravel()
    box = [out[0] * rms + five[:, 0].mean(), out[1] * rms + five[:, 1].mean(), 224 / out[2] * rms]
    x, y, w = np.round(box).astype(np.int32)
    padded = np.pad(image, ((image.shape[0] // 2,) * 2, (image.shape[1] // 2,) * 2, (0, 0)))
    top, left = y + image.shape[0] // 2, x + image.shape[1] // 2
    assert top >= 0 and left >= 0
    chip = padded[top : top + w, left : left + w]
    assert chip.shape == (w, w, 3), "the public code would have stretched this crop"
    offsets = expected_offsets(opencv_cubic(chip)[None, :, :, ::-1])
    lm = offsets + np.loadtxt(folder / "test_mean_face.txt").reshape(68, 2)
    lm[:, 1] = 223 - lm[:, 1]
    return lm / (224 / w) + [x, y]


def opencv_cubic(chip: np.ndarray) -> np.ndarray:
    """PyTorch's bicubic has OpenCV's a = -0.75 and smooths as little."""
    tensor = torch.from_numpy(chip.copy()).permute(2, 0, 1)[None].double()
    resized = functional.interpolate(tensor, (224, 224), mode="bicubic", align_corners=False)
    return resized[0].round().clamp(0, 255).permute(1, 2, 0).numpy()


@pytest.fixture
def photo() -> np.ndarray:
    """(90, 80, 3) noise over a ramp: every pixel and channel differs."""
    noise = np.random.default_rng(2).integers(0, 120, (90, 80, 3))
    return (noise + np.arange(90)[:, None, None] + [0, 20, 40]).astype(np.uint8)


# What the network sees


@pytest.mark.parametrize(
    "box", [(5, 8, 60), (0, 0, 80), (20, 30, 3), (-20, 60, 70), (-90, -90, 300)]
)
def test_the_crop_is_opencvs_and_black_outside(photo: np.ndarray, box: tuple[int, int, int]):
    left, top, side = box
    wide = np.pad(photo, ((400, 400), (400, 400), (0, 0)))
    chip = wide[top + 400 : top + 400 + side, left + 400 : left + 400 + side]
    seen = face_input(photo, left, top, side)
    assert seen.shape == (1, 224, 224, 3) and seen.dtype == np.float32
    # BGR; halves may round either way.
    difference = np.abs(seen[0, :, :, ::-1] - opencv_cubic(chip))
    assert difference.max() <= 1 and difference.mean() < 1e-3


# The way from five points to 68


def test_landmarks_are_those_of_the_public_steps(lm_folder: Path, photo: np.ndarray):
    pytest.importorskip("onnxruntime")
    write_onnx_graph(lm_folder / CONVERTED_NAME)
    detector = create_detector(options_of(lm_folder))
    assert isinstance(detector, LandmarkGraphDetector)
    for shift in ([0, 0], [-12, 6]):
        found = detector.landmarks_from_five(photo, FIVE + shift)
        expected = public_landmarks(lm_folder, photo, FIVE + shift)
        np.testing.assert_allclose(found, expected, atol=1e-3)


def test_without_points_dlib_finds_the_face(
    lm_folder: Path, astronaut: np.ndarray, astronaut_landmarks: np.ndarray
):
    pytest.importorskip("onnxruntime")
    write_onnx_graph(lm_folder / CONVERTED_NAME)
    detector = create_detector(options_of(lm_folder))
    (face,) = detector.detect(astronaut, largest_only=True)
    expected = detector.landmarks_from_five(astronaut, five_from_68(astronaut_landmarks))
    np.testing.assert_array_equal(face.landmarks_px, expected)


def test_points_without_extent_are_refused(lm_folder: Path, photo: np.ndarray):
    write_onnx_graph(lm_folder / CONVERTED_NAME)
    pytest.importorskip("onnxruntime")
    detector = create_detector(options_of(lm_folder))
    for five in (np.full((5, 2), 7.0), FIVE * 1e5):
        with pytest.raises(InputError, match="five points give a box of"):
            detector.landmarks_from_five(photo, five)


def test_survives_pickling(lm_folder: Path, photo: np.ndarray):
    pytest.importorskip("onnxruntime")
    write_onnx_graph(lm_folder / CONVERTED_NAME)
    detector = create_detector(options_of(lm_folder))
    before = detector.landmarks_from_five(photo, FIVE)
    copy = pickle.loads(pickle.dumps(detector))
    np.testing.assert_array_equal(copy.landmarks_from_five(photo, FIVE), before)


# TensorFlow


@pytest.mark.slow  # importing TensorFlow takes seconds
@pytest.mark.filterwarnings("ignore")
def test_a_real_frozen_graph_runs_in_tensorflow(lm_folder: Path, photo: np.ndarray):
    graph = write_tensorflow_graph(lm_folder / GRAPH_NAME)
    face = face_input(photo, 5, 8, 60)
    network = pickle.loads(pickle.dumps(TensorFlowGraph(graph)))
    np.testing.assert_allclose(network.run(face), expected_offsets(face), rtol=1e-4)
    graph.write_bytes(b"\x0a\xff\xff not a graph")
    with pytest.raises(InputError, match=r"68lm_detector\.pb: damaged or not a frozen"):
        read_graph(graph)
    tf = pytest.importorskip("tensorflow")

    v1 = tf.compat.v1
    with v1.Graph().as_default() as other:
        v1.placeholder(tf.float32, [1], name="input_imgs")
    graph.write_bytes(other.as_graph_def().SerializeToString())
    with pytest.raises(InputError, match=r"68lm_detector\.pb: has no tensor lm:0"):
        read_graph(graph)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_real_graph_is_converted_once(
    lm_folder: Path, photo: np.ndarray, monkeypatch: pytest.MonkeyPatch
):
    pytest.importorskip("tf2onnx")
    pytest.importorskip("onnxruntime")
    write_tensorflow_graph(lm_folder / GRAPH_NAME)
    create_detector(options_of(lm_folder))
    assert (lm_folder / CONVERTED_NAME).is_file()
    # From now on without TensorFlow, and without its graph.
    monkeypatch.setattr(landmark_graph, "_installed", lambda package: package == "onnxruntime")
    (lm_folder / GRAPH_NAME).unlink()
    detector = create_detector(options_of(lm_folder))
    found = detector.landmarks_from_five(photo, FIVE)
    np.testing.assert_allclose(found, public_landmarks(lm_folder, photo, FIVE), atol=1e-3)


class _FakeTensorFlow(types.ModuleType):
    """As much of TensorFlow 2 as the reader may use; notes what it is asked for."""

    def __init__(self) -> None:
        super().__init__("tensorflow")
        self.__spec__ = ModuleSpec("tensorflow", None)
        self.asked: list[Any] = []
        node = types.SimpleNamespace
        outer = self

        class GraphDef:
            def ParseFromString(self, content: bytes) -> None:
                if not content.startswith(b"graph "):
                    raise ValueError("Error parsing message")
                self.node = [node(name=name) for name in content.decode().split()[1:]]

        class Graph:
            def as_default(self):
                return self

            def __enter__(self):
                return self

            def __exit__(self, *error: object) -> None:
                pass

        class Session:
            def __init__(self, graph: Graph, config: dict[str, Any]) -> None:
                outer.asked.append(config)

            def run(self, fetch: str, feed_dict: dict[str, np.ndarray]) -> np.ndarray:
                ((name, face),) = feed_dict.items()
                outer.asked.append((fetch, name))
                return expected_offsets(face).reshape(1, 136)

        self.compat = node(
            v1=node(
                GraphDef=GraphDef,
                Graph=Graph,
                Session=Session,
                ConfigProto=dict,
                import_graph_def=lambda definition, name: outer.asked.append(name),
            )
        )


@pytest.fixture
def fake_tensorflow(monkeypatch: pytest.MonkeyPatch) -> _FakeTensorFlow:
    fake = _FakeTensorFlow()
    monkeypatch.setitem(sys.modules, "tensorflow", fake)
    monkeypatch.setattr(landmark_graph, "_installed", lambda package: package == "tensorflow")
    return fake


def test_tensorflow_is_asked_for_the_public_tensors(
    lm_folder: Path, photo: np.ndarray, fake_tensorflow: _FakeTensorFlow
):
    (lm_folder / GRAPH_NAME).write_bytes(GRAPH_BYTES)
    detector = create_detector(options_of(lm_folder))
    assert fake_tensorflow.asked == []
    found = detector.landmarks_from_five(photo, FIVE)
    np.testing.assert_allclose(found, public_landmarks(lm_folder, photo, FIVE), atol=1e-3)
    name, settings, tensors = fake_tensorflow.asked
    assert (name, tensors) == ("net", ("net/lm:0", "net/input_imgs:0"))
    assert settings["device_count"] == {"GPU": 0}
    pickle.loads(pickle.dumps(detector))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\x0a\xff garbage", "damaged or not a frozen TensorFlow graph"),
        (b"graph \x12 images lm", "has no tensor input_imgs:0"),
    ],
)
@pytest.mark.usefixtures("fake_tensorflow")
def test_wrong_graphs_are_named(lm_folder: Path, photo: np.ndarray, content: bytes, message: str):
    (lm_folder / GRAPH_NAME).write_bytes(content)
    detector = create_detector(options_of(lm_folder))
    with pytest.raises(InputError, match=rf"68lm_detector\.pb: .*{message}"):
        detector.landmarks_from_five(photo, FIVE)


@pytest.mark.parametrize("installed", [(), ("onnxruntime",), ("tensorflow",)])
@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"<!DOCTYPE html>", "a web page"),
        (b"version https://git-lfs.github.com/spec/v1", "a Git LFS pointer"),
        (b"PK\x03\x04" + bytes(600), "a zip archive; unpack it"),
        (b"node {\n  name: 'input_imgs'\n}\n" * 40, "text"),
        (b"", "empty"),
    ],
)
def test_another_file_is_named_before_packages_are_asked_for(
    lm_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    installed: tuple[str, ...],
    content: bytes,
    kind: str,
):
    monkeypatch.setattr(landmark_graph, "_installed", lambda package: package in installed)
    (lm_folder / GRAPH_NAME).write_bytes(content)
    with pytest.raises(InputError) as caught:
        create_detector(options_of(lm_folder))
    said = str(caught.value)
    assert f"{lm_folder / GRAPH_NAME}: not a TensorFlow graph but {kind}" in said
    assert "68 landmark archive (github.com/sicxu/Deep3DFaceRecon_pytorch)" in said


# What is missing


def test_the_converted_graph_comes_first(lm_folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(landmark_graph, "_installed", lambda _: True)
    (lm_folder / GRAPH_NAME).write_bytes(b"<!DOCTYPE html>")  # not looked at
    (lm_folder / CONVERTED_NAME).touch()
    assert isinstance(landmark_graph.open_graph(lm_folder), OnnxGraph)
    monkeypatch.setattr(landmark_graph, "_installed", lambda package: package == "tensorflow")
    (lm_folder / GRAPH_NAME).write_bytes(GRAPH_BYTES)
    assert isinstance(landmark_graph.open_graph(lm_folder), TensorFlowGraph)


def test_nothing_is_converted_where_only_looking(lm_folder: Path, monkeypatch: pytest.MonkeyPatch):
    converted = []
    monkeypatch.setattr(landmark_graph, "_installed", lambda _: True)
    monkeypatch.setattr(landmark_graph, "convert_graph", lambda *paths: converted.append(paths))
    (lm_folder / GRAPH_NAME).write_bytes(GRAPH_BYTES)
    create_detector(options_of(lm_folder), read_only=True)
    assert landmark_graph.would_be_converted(lm_folder) and not converted
    create_detector(options_of(lm_folder))
    assert converted == [(lm_folder / GRAPH_NAME, lm_folder / CONVERTED_NAME)]


def test_each_missing_part_is_named(lm_folder: Path, monkeypatch: pytest.MonkeyPatch):
    options = options_of(lm_folder)
    with pytest.raises(
        InputError, match=r"needs .*68lm_detector\.pb, which is not there.*lm_folder"
    ):
        create_detector(options)
    monkeypatch.setattr(landmark_graph, "_installed", lambda _: False)
    (lm_folder / GRAPH_NAME).write_bytes(GRAPH_BYTES)
    with pytest.raises(InputError, match="pip install tensorflow"):
        create_detector(options)
    (lm_folder / GRAPH_NAME).rename(lm_folder / CONVERTED_NAME)
    with pytest.raises(InputError, match="pip install onnxruntime"):
        create_detector(options)
    for name in ("test_mean_face.txt", "BBRegressorParam_r.mat"):
        (lm_folder / name).unlink()
        with pytest.raises(InputError, match=rf"needs .*{name}, which is not there; .*util/"):
            create_detector(options)


def test_another_network_in_place_of_the_converted_graph(lm_folder: Path):
    pytest.importorskip("onnxruntime")
    path = lm_folder / CONVERTED_NAME
    path.write_bytes(b"garbage")
    with pytest.raises(InputError, match=r"68lm_detector\.onnx: damaged"):
        create_detector(options_of(lm_folder))
    onnx = pytest.importorskip("onnx")
    write_onnx_graph(path)
    model = onnx.load(path)
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 112
    onnx.save(model, path)
    with pytest.raises(InputError, match=r"its input is \[1, 112, 224, 3\].*68lm_detector\.pb"):
        create_detector(options_of(lm_folder))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("test_mean_face.txt", b"1 2 3", "holds 3 numbers where 136"),
        ("test_mean_face.txt", b"<html>no</html>", "web page"),
        ("test_mean_face.txt", b"one two", "not a list of numbers"),
        ("BBRegressorParam_r.mat", b"<!DOCTYPE html>", "web page"),
        ("BBRegressorParam_r.mat", b"MATLAB 5.0" + bytes(90), "damaged or another file"),
    ],
)
def test_wrong_files_are_named(lm_folder: Path, name: str, content: bytes, message: str):
    write_onnx_graph(lm_folder / CONVERTED_NAME)
    (lm_folder / name).write_bytes(content)
    with pytest.raises(InputError, match=rf"{name}: .*{message}"):
        create_detector(options_of(lm_folder))


def test_a_regression_of_other_sizes_is_refused(lm_folder: Path):
    savemat(
        lm_folder / "BBRegressorParam_r.mat",
        {"W1": np.ones((6, 8)), "B1": np.ones(6), "W2": np.ones((3, 6)), "B2": np.ones(3)},
    )
    with pytest.raises(InputError, match=r"BBRegressorParam_r\.mat: W1, B1, W2, B2 are not"):
        create_detector(options_of(lm_folder))
