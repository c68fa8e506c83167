"""insightface's detectors: decoding of networks with known outputs, and files that are missing."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data.detection import create_detector
from data.insightface_detector import InsightfaceDetector, Scrfd, find_detection_model
from data.landmarks import five_from_68, read_landmarks, write_landmarks
from data.onnx_model import OnnxModel
from options.data_options import DetectionOptions
from util.errors import InputError

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

ROOT = Path(__file__).resolve().parents[2]
SIDE = 640
STRIDES = (8, 16, 32)


def empty_outputs(anchors: int = 2, side: int = SIDE) -> dict[int, dict[int, np.ndarray]]:
    """By stride, then by last size: scores of 0, boxes of one cell, points in the corner."""
    outputs = {}
    for stride in STRIDES:
        count = anchors * (side // stride) ** 2
        outputs[stride] = {
            1: np.zeros((count, 1), np.float32),
            4: np.ones((count, 4), np.float32),
            10: np.zeros((count, 10), np.float32),
        }
    return outputs


def write_scrfd(
    path: Path,
    outputs: dict[int, dict[int, np.ndarray]],
    *,
    side: int | str = SIDE,
    batched: bool = False,
    by_stride: bool = False,
) -> Path:
    """A network with these outputs whatever it sees; by default all scores come first."""
    from onnx import TensorProto, helper, numpy_helper

    arrays = [(s, size, a) for s, kinds in outputs.items() for size, a in kinds.items()]
    if not by_stride:
        arrays.sort(key=lambda item: item[1])
    nodes, weights, declared = [], [], []
    nodes.append(helper.make_node("ReduceMean", ["input.1"], ["m"], keepdims=0))
    nodes.append(helper.make_node("Mul", ["m", "zero"], ["nothing"]))
    weights.append(numpy_helper.from_array(np.zeros((), np.float32), "zero"))
    for number, (_, _, array) in enumerate(arrays):
        array = array[None] if batched else array
        weights.append(numpy_helper.from_array(array, f"w{number}"))
        nodes.append(helper.make_node("Add", [f"w{number}", "nothing"], [f"o{number}"]))
        declared.append(
            helper.make_tensor_value_info(f"o{number}", TensorProto.FLOAT, list(array.shape))
        )
    return save(path, nodes, weights, declared, [1, 3, side, side])


def save(path: Path, nodes: list, weights: list, outputs: list, shape: list[Any]) -> Path:
    from onnx import TensorProto, helper

    inputs = [helper.make_tensor_value_info("input.1", TensorProto.FLOAT, shape)]
    graph = helper.make_graph(nodes, "scrfd", inputs, outputs, weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
    model.ir_version = 8
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, path)
    return path


def put_face(
    outputs: dict[int, dict[int, np.ndarray]],
    five: np.ndarray,
    box: tuple[float, float, float, float],
    score: float = 0.9,
    *,
    stride: int = 16,
    anchors: int = 2,
    side: int = SIDE,
) -> None:
    """Encode a face, in the network's pixels, at the cell of its nose."""
    column, row = (five[2] // stride).astype(int)
    place = anchors * (row * (side // stride) + column) + anchors - 1
    corner = np.array([column, row]) * stride
    level = outputs[stride]
    level[1][place] = score
    level[4][place] = np.concatenate([corner - box[:2], np.array(box[2:]) - corner]) / stride
    level[10][place] = ((five - corner) / stride).ravel()


FIVE = np.array([[200.0, 150], [280, 152], [241, 200], [210, 260], [275, 258]])
BOX = (170.0, 100.0, 310.0, 300.0)
IMAGE = np.zeros((480, 640, 3), np.uint8)


@pytest.mark.parametrize(
    "ways",
    [
        {},
        {"batched": True},
        {"by_stride": True},
        {"side": "any"},
        {"side": "any", "batched": True, "by_stride": True},
    ],
    ids=str,
)
@pytest.mark.parametrize("stride", STRIDES)
def test_a_face_is_decoded_from_every_grid(tmp_path: Path, stride: int, ways: dict[str, Any]):
    outputs = empty_outputs()
    put_face(outputs, FIVE, BOX, 0.8, stride=stride)
    (face,) = Scrfd(OnnxModel(write_scrfd(tmp_path / "det_10g.onnx", outputs, **ways))).detect(
        IMAGE
    )
    np.testing.assert_allclose(face.five, FIVE, atol=1e-3)
    np.testing.assert_allclose(face.box, BOX, atol=1e-3)
    assert face.score == pytest.approx(0.8)


def test_one_anchor_and_another_size(tmp_path: Path):
    outputs = empty_outputs(1, 320)
    put_face(outputs, FIVE / 2, tuple(np.array(BOX) / 2), anchors=1, side=320)  # type: ignore
    model = OnnxModel(write_scrfd(tmp_path / "det_500m.onnx", outputs, side=320))
    (face,) = Scrfd(model).detect(IMAGE)
    np.testing.assert_allclose(face.five, FIVE, atol=1e-3)


@pytest.mark.parametrize("shape", [(1280, 1280), (960, 1280), (1500, 700), (64, 48), (1, 1000)])
def test_positions_are_those_of_the_photo(tmp_path: Path, shape: tuple[int, int]):
    outputs = empty_outputs()
    put_face(outputs, FIVE, BOX)
    model = OnnxModel(write_scrfd(tmp_path / "det_10g.onnx", outputs))
    (face,) = Scrfd(model).detect(np.zeros((*shape, 3), np.uint8))
    ratio = max(shape) / SIDE
    if min(shape) > 1:  # a single row is resized to a whole pixel
        np.testing.assert_allclose(face.five, FIVE * ratio, rtol=2e-2)


def test_colours_and_place_of_the_picture(tmp_path: Path):
    """The network sees RGB in [-1, 1] (scaled by 128), the picture at the top left, black around.

    A network whose score is linear in what it sees: one bright cell is one face.
    """
    from onnx import TensorProto, helper, numpy_helper

    outputs = empty_outputs(1)
    cells = (SIDE // 8) ** 2
    kernel = np.zeros((1, 3, 8, 8), np.float32)
    kernel[0, 0], kernel[0, 1], kernel[0, 2] = 0.5 / 64, 0.3 / 64, -0.2 / 64
    bias = np.full((1,), 0.1, np.float32)
    nodes = [
        helper.make_node("Conv", ["input.1", "k", "b"], ["seen"], strides=[8, 8]),
        helper.make_node("Reshape", ["seen", "column"], ["score8"]),
    ]
    weights = [
        numpy_helper.from_array(kernel, "k"),
        numpy_helper.from_array(bias, "b"),
        numpy_helper.from_array(np.array([-1, 1]), "column"),
    ]
    declared = [helper.make_tensor_value_info("score8", TensorProto.FLOAT, [cells, 1])]
    for stride, kinds in outputs.items():
        for size, array in kinds.items():
            if (stride, size) == (8, 1):
                continue
            name = f"o{stride}_{size}"
            weights.append(numpy_helper.from_array(array, f"w{name}"))
            nodes.append(helper.make_node("Identity", [f"w{name}"], [name]))
            declared.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, array.shape))
    path = save(tmp_path / "det_10g.onnx", nodes, weights, declared, [1, 3, SIDE, SIDE])

    picture = np.zeros((320, 640, 3), np.uint8)
    picture[80:88, 400:408] = (255, 255, 0)
    (face,) = Scrfd(OnnxModel(path)).detect(picture)
    # 0.1 + (0.5 + 0.3) 127.5 / 128 - 0.2 (-127.5 / 128)
    assert face.score == pytest.approx(0.1 + 127.5 / 128, abs=1e-5)
    np.testing.assert_allclose(face.five, np.tile([400.0, 80.0], (5, 1)))
    np.testing.assert_allclose(face.box, [392.0, 72.0, 408.0, 88.0])


def test_overlapping_boxes_are_one_face(tmp_path: Path):
    outputs = empty_outputs()
    put_face(outputs, FIVE, BOX, 0.7)
    put_face(outputs, FIVE + np.array([3, 2]), tuple(np.array(BOX) + 3), 0.9, stride=8)  # type: ignore
    other = FIVE + np.array([300, 100])
    put_face(outputs, other, (470.0, 200.0, 610.0, 400.0), 0.6)
    put_face(
        outputs, FIVE + np.array([0, 250]), (0.0, 350.0, 300.0, 600.0), 0.49
    )  # below the threshold
    model = OnnxModel(write_scrfd(tmp_path / "det_10g.onnx", outputs))
    found = Scrfd(model).detect(IMAGE)
    assert [round(face.score, 2) for face in found] == [0.9, 0.6]
    np.testing.assert_allclose(found[0].five, FIVE + np.array([3, 2]), atol=1e-3)
    np.testing.assert_allclose(found[1].five, other, atol=1e-3)


def test_suppression_against_its_definition():
    """No two kept boxes overlap by more, and every dropped one overlaps a surer kept one."""
    from data.insightface_detector import _suppress

    random = np.random.default_rng(1)
    low = random.uniform(0, 100, (200, 2))
    boxes = np.hstack([low, low + random.uniform(5, 60, (200, 2))])
    scores = random.uniform(0.5, 1, 200)

    def overlap(a: np.ndarray, b: np.ndarray) -> float:
        shared = np.prod(np.clip(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]) + 1, 0, None))
        areas = [np.prod(c[2:] - c[:2] + 1) for c in (a, b)]
        return float(shared / (sum(areas) - shared))

    kept = _suppress(boxes, scores, 0.4)
    assert kept == sorted(kept, key=lambda k: -scores[k]) and 5 < len(kept) < 200
    for k in range(200):
        surer = [m for m in kept if scores[m] > scores[k]]
        clash = any(overlap(boxes[k], boxes[m]) > 0.4 for m in surer)
        assert clash == (k not in kept)


def test_no_face(tmp_path: Path):
    model = OnnxModel(write_scrfd(tmp_path / "det_10g.onnx", empty_outputs()))
    assert Scrfd(model).detect(IMAGE) == []


# With dlib's landmarks


@pytest.fixture
def astronaut_root(tmp_path: Path, astronaut_landmarks: np.ndarray) -> Path:
    """insightface's folders, with a network that finds the astronaut (512 px, so 1.25 times)."""
    outputs = empty_outputs()
    five = five_from_68(astronaut_landmarks)
    low, high = astronaut_landmarks.min(axis=0), astronaut_landmarks.max(axis=0)
    put_face(outputs, five * 1.25, tuple(np.concatenate([low, high]) * 1.25))  # type: ignore
    put_face(outputs, five * 0 + [500, 500], (480.0, 480.0, 520.0, 520.0), 0.99)  # a small one
    write_scrfd(tmp_path / "insight" / "models" / "buffalo_l" / "det_10g.onnx", outputs)
    return tmp_path / "insight"


def options_of(root: Path) -> DetectionOptions:
    return DetectionOptions(detector="insightface", insightface_root=str(root))


def test_landmarks_follow_from_its_points(
    astronaut_root: Path, astronaut: np.ndarray, astronaut_landmarks: np.ndarray
):
    detector = create_detector(options_of(astronaut_root))
    assert isinstance(detector, InsightfaceDetector)
    detector = pickle.loads(pickle.dumps(detector))
    (face,) = detector.detect(astronaut, largest_only=True)
    eyes = np.linalg.norm(astronaut_landmarks[36] - astronaut_landmarks[45])
    error = np.linalg.norm(face.landmarks_px - astronaut_landmarks, axis=1)
    assert error.mean() < 0.04 * eyes
    assert face.score == pytest.approx(0.9)
    assert len(detector.detect(astronaut)) == 2


def test_the_command_prepares_a_folder(
    astronaut_root: Path, tmp_path: Path, astronaut: np.ndarray, astronaut_landmarks: np.ndarray
):
    from PIL import Image

    photos = tmp_path / "photos"
    photos.mkdir()
    Image.fromarray(astronaut).save(photos / "a.png")
    arguments = ["--img_folder", str(photos), "--num_workers", "2", "--detector", "insightface"]
    arguments += ["--insightface_root", str(astronaut_root)]
    result = subprocess.run(
        [sys.executable, str(ROOT / "data_preparation.py"), *arguments],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert result.returncode == 0, result.stderr
    write_landmarks(tmp_path / "expected.txt", five_from_68(astronaut_landmarks))
    found = read_landmarks(photos / "detections" / "a.txt")
    assert np.abs(found - five_from_68(astronaut_landmarks)).max() < 8


# Files


def test_the_model_is_found_in_insightfaces_folders(tmp_path: Path):
    pack = tmp_path / "models" / "buffalo_l"
    large = write_scrfd(pack / "det_10g.onnx", empty_outputs())
    (pack / "2d106det.onnx").write_bytes(bytes(10_000_000))
    small = tmp_path / "models" / "buffalo_s" / "det_500m.onnx"
    small.parent.mkdir()
    small.write_bytes(b"small")
    for root in (tmp_path, tmp_path / "models", pack, large):
        assert find_detection_model(str(root)) == large
    assert find_detection_model(str(small.parent)) == small


def test_what_is_missing_is_said(tmp_path: Path):
    with pytest.raises(InputError, match=r"needs --insightface_root.*det_10g.*nothing is download"):
        create_detector(DetectionOptions(detector="insightface"))
    with pytest.raises(
        InputError, match=r"--insightface_root .*nowhere: no such folder; .*det_10g"
    ):
        create_detector(options_of(tmp_path / "nowhere"))
    (tmp_path / "w600k_r50.onnx").touch()
    with pytest.raises(
        InputError, match=r"holds no detection model \(det_\*\.onnx.*buffalo_l.*det_10g\.onnx"
    ):
        create_detector(options_of(tmp_path))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"<html>sign in</html>", "not an ONNX file but a web page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer"),
        (b"", "damaged or not an ONNX file"),
        (b"garbage", "damaged or not an ONNX file"),
    ],
)
def test_wrong_files_are_named(tmp_path: Path, content: bytes, message: str):
    path = tmp_path / "det_10g.onnx"
    path.write_bytes(content)
    with pytest.raises(InputError, match=rf"det_10g\.onnx: .*{message}"):
        create_detector(options_of(tmp_path))


def test_other_networks_are_named(tmp_path: Path):
    path = tmp_path / "det_10g.onnx"
    boxes_only = {s: {1: o[1], 4: o[4]} for s, o in empty_outputs().items()}
    odd = {s: {**o, 10: np.zeros((5, 12), np.float32)} for s, o in empty_outputs().items()}
    wrong_count = {s: {k: a[:-3] for k, a in o.items()} for s, o in empty_outputs().items()}
    for outputs, message in (
        (boxes_only, "boxes without the five points"),
        (odd, r"one of its outputs is \(5, 12\)"),
        (wrong_count, "12797 places where 6400 cells"),
    ):
        write_scrfd(path, outputs)
        with pytest.raises(InputError, match=rf"det_10g\.onnx: not one of .*{message}.*det_10g"):
            create_detector(options_of(tmp_path)).detect(IMAGE)


def test_without_the_runtime_the_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write_scrfd(tmp_path / "det_10g.onnx", empty_outputs())
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(InputError, match="pip install onnxruntime"):
        create_detector(options_of(tmp_path))
