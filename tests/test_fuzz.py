"""Thousands of damaged files of every kind: each is read or refused by InputError, none is touched.

What a kind reads, and good files of it, stand in KINDS; an input is a kind and a number, from which
it can be made again: `damaged("png", 17)`. Some hundreds are tried always, ten thousand if asked
for: `pytest -m slow tests/test_fuzz.py`.
"""

from __future__ import annotations

import functools
import importlib.util
import io
import signal
import tempfile
import time
import traceback
import zlib
from collections import Counter
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.io import loadmat, savemat

import data.preparation
from data.base_dataset import FaceDataset
from data.fitted_labels import FittedLabel, LabelMaker, read_label, write_label
from data.flist_dataset import FlistDataset, read_list
from data.images import read_image, read_mask, write_image
from data.landmarks import check_landmarks, read_landmarks, write_landmarks
from data.loader import FaceLoader
from data.merging import merge_shards
from data.preparation import PreparationOptions, prepare_folders
from data.prepared_files import PhotoFiles, lines_of, report_rows
from data.sharding import Shard, ShardRecord
from data.synthetic.coefficients import SyntheticTruth, read_truth, write_truth
from data.tar_shards import pack_photos, sample_ranges
from data.worker_pool import WorkerDied, map_in_processes
from models.networks.iresnet import IResNet
from options import parse_command
from options.base_options import BaseOptions
from options.data_options import AugmentationOptions, DetectionOptions, FlistOptions
from options.face_options import FaceModelOptions, LandmarkOptions
from options.train_options import LoaderOptions, TrainOptions
from tests.bfm_files import SMALL, write_small_sources
from tests.given_faces import GivenFaces
from tests.util.model_files.iresnet_onnx import GraphWriter
from util.assets import load_face_model
from util.errors import InputError
from util.model_files.arcface_onnx import read_iresnet_onnx
from util.model_files.bfm09_folder import DEVIATIONS, EXPRESSION, IDENTITY, MODEL_INFO
from util.model_files.bfm_conversion import convert_bfm09
from util.model_files.bfm_file import STANDARD_POINTS_FILE, read_bfm_model
from util.model_files.dlib_file import read_dlib_resnet
from util.model_files.face_model_file import read_face_model
from util.photos.results import _read_summary
from util.training.checkpoint import (
    load_checkpoint,
    load_network,
    load_tensors,
    read_card,
    save_checkpoint,
)

SECONDS = 60
"""An input that takes longer counts as a hang; the largest picture that is read, an animated WebP
that claims 175 megapixels, takes 13 of one core."""


@dataclass(frozen=True)
class Kind:
    """Files of one kind."""

    ending: str
    originals: Callable[[Path], list[bytes]]
    """Good files, made in an empty folder."""
    read: Callable[[Path], object]
    """Everything that the program does with one before it is used."""
    garble: Callable[[np.random.Generator], bytes] | None = None
    """A file that is well-formed on the outside, with wrong content."""


# 1. Pictures -----------------------------------------------------------------------------------

STANDARD_POINTS = np.array(
    [
        [-0.31, 0.29, 0.13],
        [0.31, 0.29, 0.13],
        [0.0, -0.02, 0.4],
        [-0.25, -0.34, 0.17],
        [0.25, -0.34, 0.17],
    ]
)


def picture(seed: int = 0, size: tuple[int, int] = (64, 72)) -> np.ndarray:
    """(H, W, 3) smooth colours with some noise."""
    rows, columns = np.mgrid[: size[0], : size[1]]
    noise = np.random.default_rng(seed).integers(0, 30, (*size, 3))
    return (np.stack([2 * columns, 3 * rows, 220 - columns], -1) + noise).clip(0, 255).astype("u1")


def encoded(image_format: str, *variants: tuple[str, dict[str, Any]]) -> list[bytes]:
    """The picture in several modes of a format."""
    files = []
    for mode, settings in variants:
        buffer = io.BytesIO()
        Image.fromarray(picture()).convert(mode).save(buffer, image_format, **settings)
        files.append(buffer.getvalue())
    return files


def jpegs(_: Path) -> list[bytes]:
    exif = Image.Exif()
    exif[0x0112] = 6
    return encoded(
        "JPEG",
        ("RGB", {"quality": 90}),
        ("RGB", {"progressive": True, "exif": exif}),
        ("L", {}),
        ("CMYK", {"quality": 60}),
    )


def pngs(_: Path) -> list[bytes]:
    deep = io.BytesIO()
    Image.fromarray(picture()[..., 0].astype(np.uint16) * 257).save(deep, "PNG")
    transparent = {"transparency": 3}
    return [
        *encoded("PNG", ("RGB", {}), ("RGBA", {}), ("LA", {}), ("1", {}), ("P", transparent)),
        deep.getvalue(),
    ]


def webps(_: Path) -> list[bytes]:
    second = Image.fromarray(picture(1))
    return encoded(
        "WEBP",
        ("RGB", {"lossless": True}),
        ("RGB", {"quality": 80}),
        ("RGBA", {"quality": 80}),
        ("RGB", {"save_all": True, "append_images": [second]}),
    )


def bmps(_: Path) -> list[bytes]:
    return encoded("BMP", ("RGB", {}), ("L", {}), ("P", {}), ("1", {}))


# 2. Landmarks and lists ------------------------------------------------------------------------


def landmarks_68() -> np.ndarray:
    """(68, 2) a face on the 64 x 72 picture."""
    turn = np.linspace(0, np.pi, 17)
    jaw = np.stack([36 - 20 * np.cos(turn), 26 + 24 * np.sin(turn)], 1)
    line = np.linspace(-1, 1, 5)[:, None] * [4.0, 0.5]
    around = np.linspace(0, 2 * np.pi, 12, endpoint=False)
    eye = np.stack([-3 * np.cos(around[::2]), -1.2 * np.sin(around[::2])], 1)
    mouth = np.stack([-8 * np.cos(around), -3 * np.sin(around)], 1)
    inner = np.stack([-5 * np.cos(around[:8] * 1.5), -1 * np.sin(around[:8] * 1.5)], 1)
    nose = np.stack([np.full(4, 36.0), np.linspace(24, 33, 4)], 1)
    placed = [(line, 27, 18), (line, 45, 18), (nose, 0, 0), (line, 36, 36)]
    placed += [(eye, 27, 23), (eye, 45, 23), (mouth, 36, 43), (inner, 36, 43)]
    return np.concatenate([jaw, *(part + np.array(place) for part, *place in placed)])


def landmark_files(_: Path) -> list[bytes]:
    points = landmarks_68()
    five = points[[36, 42, 30, 48, 54]]
    texts = ["".join(f"{x:.4f} {y:.4f}\n" for x, y in points)]
    texts += ["".join(f"{x}{sep}{y}\r\n" for x, y in five) for sep in ("\t", ", ", " ; ")]
    return [*(text.encode() for text in texts), texts[1].encode("utf-16")]


def read_points(path: Path) -> None:
    check_landmarks(read_landmarks(path), (64, 72, 3), str(path))


def lists(_: Path) -> list[bytes]:
    lines = [f"faces/mask/photo {number}.png" for number in range(12)]
    return [
        "\n".join(lines).encode(),
        b"\xef\xbb\xbf" + "\r\n".join(lines).encode(),
        "\r\n\r\n".join(lines).replace("/", "\\").encode("utf-16"),
    ]


def read_flist(path: Path) -> None:
    read_list(path, path.parent, "--flist")


# 3. Archives of arrays -------------------------------------------------------------------------


def truth(count: int = 6) -> SyntheticTruth:
    random = np.random.default_rng(0)
    return SyntheticTruth(
        names=tuple(f"{number:06d}.jpg" for number in range(count)),
        coefficients=random.normal(size=(count, 257)).astype(np.float32),
        landmarks_px=random.uniform(0, 224, (count, 68, 2)).astype(np.float32),
        visible=random.random((count, 68)) < 0.9,
        intrinsics=random.normal(size=(count, 3, 3)).astype(np.float32),
        rotation=random.normal(size=(count, 3, 3)).astype(np.float32),
        translation_dm=random.normal(size=(count, 3)).astype(np.float32),
        size_px=np.full((count, 2), 224, np.int32),
        face_model="tiny 1",
        fingerprint="0123",
        seed=5,
        settings="--camera rnet",
        generator_version=1,
    )


def truths(folder: Path) -> list[bytes]:
    write_truth(folder / "a.npz", truth())
    return [(folder / "a.npz").read_bytes()]


def labels(folder: Path) -> list[bytes]:
    maker, numbers = LabelMaker("tiny 1 (0123)", "0123", "fast", ""), np.arange(5, dtype=np.float32)
    fitted = FittedLabel(maker, (300, 200, 270, 180, 40, -20), 0.02, numbers / 3)
    write_label(folder / "a.json", fitted)
    write_label(folder / "b.json", replace(fitted, coefficients=None, doubt="it is grey"))
    return [(folder / name).read_bytes() for name in ("a.json", "b.json")]


def face_model_arrays() -> dict[str, Any]:
    """The arrays of a native face model file, whose vertices are its control points."""
    random = np.random.default_rng(0)
    count = 90
    triangles = random.permuted(np.tile(np.arange(count), (120, 1)), axis=1)[:, :3]
    return {
        "format_version": 1,
        "name": "tiny",
        "version": "1",
        "licence": "none",
        "control_mean_shape": random.normal(size=(count, 3)).astype(np.float32),
        "control_identity_basis": random.normal(size=(count, 3, 3)).astype(np.float16),
        "control_expression_basis": random.normal(size=(count, 3, 2)).astype(np.float16),
        "subdivision_data": np.ones(count, np.float32),
        "subdivision_indices": np.arange(count, dtype=np.int32),
        "subdivision_indptr": np.arange(count + 1, dtype=np.int32),
        "mean_albedo": random.random((count, 3)).astype(np.float16),
        "albedo_basis_int8": random.integers(-127, 128, (count, 3, 3)).astype(np.int8),
        "albedo_scale": np.full(3, 1e-3, np.float32),
        "identity_sigma": np.ones(3, np.float32),
        "expression_sigma": np.ones(2, np.float32),
        "albedo_sigma": np.ones(3, np.float32),
        "triangles": triangles.astype(np.int32),
        "front_triangles": triangles[:50].astype(np.int32),
        "landmark_vertices": triangles[:68].astype(np.int32),
        "landmark_barycentrics": np.full((68, 3), 1 / 3, np.float32),
        "skin_mask": np.ones(count, np.float32),
        "uv": random.random((count, 2)).astype(np.float32),
        "alignment_points": STANDARD_POINTS.astype(np.float32),
        "unit_names": np.array(["jawOpen"]),
        "unit_matrix": np.ones((1, 2), np.float32),
        "region_lips": np.arange(count) < 5,
    }


def face_models(_: Path) -> list[bytes]:
    files = []
    for save in (np.savez, np.savez_compressed):
        buffer = io.BytesIO()
        save(buffer, **face_model_arrays())
        files.append(buffer.getvalue())
    return files


def read_model(path: Path) -> None:
    read_face_model(path)
    load_face_model(FaceModelOptions(face_model=str(path)))


def garbled_array(value: Any, random: np.random.Generator) -> Any:
    """An array of another shape, type or content."""
    array = np.asarray(value)
    choices: list[Callable[[], Any]] = [
        lambda: array[..., :-1] if array.ndim else np.zeros(3),
        lambda: array.reshape(-1),
        lambda: array[None],
        lambda: np.zeros(0, array.dtype),
        lambda: array.astype(object).astype(str),
        lambda: array.astype(np.complex64) if array.dtype.kind in "fiu" else np.arange(5),
        lambda: np.full_like(array, -7) if array.dtype.kind in "fi" else np.float64("nan"),
        lambda: np.where(random.random(array.shape) < 0.3, np.nan, 1.0),
        lambda: np.full(array.shape, 2**40, np.int64),
        lambda: np.array(3),
    ]
    return choices[random.integers(len(choices))]()


def garble_arrays(
    arrays: dict[str, Any], random: np.random.Generator, save: Callable[..., Any] | None = None
) -> bytes:
    arrays = dict(arrays)
    for _ in range(random.integers(1, 3)):
        key = random.choice(sorted(arrays))
        if random.random() < 0.2 and len(arrays) > 1:
            del arrays[key]
        else:
            arrays[key] = garbled_array(arrays[key], random)
    buffer = io.BytesIO()
    if save is None:
        np.savez(buffer, **arrays)
    else:
        save(buffer, arrays)
    return buffer.getvalue()


def garble_face_model(random: np.random.Generator) -> bytes:
    return garble_arrays(face_model_arrays(), random)


def garble_truth(random: np.random.Generator) -> bytes:
    with tempfile.TemporaryDirectory() as name, np.load(io.BytesIO(truths(Path(name))[0])) as file:
        return garble_arrays(dict(file), random)


# 4. Checkpoints --------------------------------------------------------------------------------


def state() -> dict[str, Any]:
    return {
        "net_recon": {"weight": torch.arange(35.0).view(5, 7), "bias": torch.arange(5.0)},
        "opt_00": {"state": {0: {"step": 3, "exp_avg": torch.zeros(4)}}, "param_groups": []},
        "sched_00": {"last_epoch": 2},
        "card": {
            "format_version": 1,
            "net_recon": "resnet50",
            "use_last_fc": False,
            "face_model": {"name": "open", "version": "1", "fingerprint": "ab"},
            "layout": {"identity": 80, "expression": 64},
            "landmark_origin": "index",
        },
        "progress": {"epoch": 2, "batches": 0, "step": 10, "seconds": 1.0},
    }


def checkpoints(folder: Path) -> list[bytes]:
    save_checkpoint(folder / "a.pth", state())
    torch.save(state(), folder / "old.pth", _use_new_zipfile_serialization=False)
    public = {"net_recon": {f"module.{k}": v for k, v in state()["net_recon"].items()}}
    torch.save(public, folder / "public.pth")
    return [path.read_bytes() for path in sorted(folder.glob("*.pth"))]


def read_checkpoint(path: Path) -> None:
    load_tensors(path)
    checkpoint = load_checkpoint(path)
    load_network(torch.nn.Linear(7, 5), checkpoint["net_recon"], path)
    read_card(checkpoint, path)


def garble_checkpoint(random: np.random.Generator) -> bytes:
    """One value somewhere in the nested dicts is gone, or something else."""
    content = state()
    place, key = content, random.choice(sorted(content))
    while isinstance(place[key], dict) and place[key] and random.random() < 0.7:
        place = place[key]
        key = sorted(place, key=str)[random.integers(len(place))]
    others = [None, 7, -1.5, "text", [], {}, torch.zeros(2, 3), torch.tensor(float("nan")), (1, 2)]
    if random.random() < 0.2:
        del place[key]
    else:
        place[key] = others[random.integers(len(others))]
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def dlib_files(_: Path) -> list[bytes]:
    from util.model_files.dlib_file import installed_dlib_file

    with installed_dlib_file().open("rb") as file:
        return [file.read(60_000)]


def arcface_graphs(folder: Path) -> list[bytes]:
    """Of the true names, nodes and depths, with fewer input channels: the true ones are large."""
    import onnx
    from onnx import numpy_helper

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = IResNet((1, 1, 1, 1))
    files = []
    for fold in (False, True):
        path = GraphWriter(fold=fold).write(network, folder / "a.onnx")
        model = onnx.load(path)
        for weight in model.graph.initializer:
            array = numpy_helper.to_array(weight)
            if array.ndim in (2, 4):
                few = np.ascontiguousarray(array[:, :1])
                weight.CopyFrom(numpy_helper.from_array(few, weight.name))
        files.append(model.SerializeToString())
    return files


# 5. Options, records, results ------------------------------------------------------------------


def option_files(_: Path) -> list[bytes]:
    text = "name: faces\nlr_policy: step\nbatch_size: 16 # comment\nuse_ddp: false\nlr: 1.0e-4\n"
    text = text.replace("lr_policy: step\n", "").replace("lr: 1.0e-4\n", "")
    text += "print_freq: 20\nsuffix: 'x{name}'\npretrained_name: none\nmax_minutes: .inf\n"
    return [text.encode(), b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode()]


def read_options(path: Path) -> None:
    from options.base_options import DistributedOptions

    groups = [BaseOptions, TrainOptions, LoaderOptions, DistributedOptions]
    parse_command(groups, ["--config", str(path)])


def shard_texts(folder: Path) -> list[bytes]:
    ShardRecord(Shard(0, 1), ("faces", "ä b"), 5, 7).write(folder)
    report = "image,kind,reason\nfaces/a.jpg,picture,is empty\nfaces/b.jpg,no face,none found\n"
    paths = "".join(f"faces/mask/photo {number}.png\n" for number in range(9))
    return [(folder / "shard.json").read_bytes(), report.encode(), paths.encode()]


def read_shard(path: Path) -> None:
    """Each of the files of a shard as any of them."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "shards" / "00000-of-00001"
        good = {
            "shard.json": b'{"shard": "0/1", "folders": ["faces"], "done": 9, "skipped": 0}',
            "preparation_report.csv": b"image,kind,reason\n",
            **dict.fromkeys(("images.txt", "landmarks.txt", "masks.txt"), b"faces/a.png\n"),
        }
        folder.mkdir(parents=True)
        for replaced in good:
            for file, content in good.items():
                (folder / file).write_bytes(path.read_bytes() if file == replaced else content)
            with tolerated(), working_in(Path(name)):
                merge_shards(Path(name))


def result_tables(_: Path) -> list[bytes]:
    from util.photos.results import _COLUMNS

    rows = "".join(f"a{number}.jpg,ok{',0.5' * 6},\n" for number in range(5))
    return [(",".join(_COLUMNS) + "\n" + rows).encode()]


def tars(folder: Path) -> list[bytes]:
    photos = [PhotoFiles(folder / f"{number}.png", str(number)) for number in range(3)]
    for photo in photos:
        write_prepared(photo)
    pack_photos([photo.listed for photo in photos], folder / "tar", 2**30, None)
    return [(folder / "tar" / "faces-000000.tar").read_bytes()]


def indices(folder: Path) -> list[bytes]:
    tars(folder)
    return [(folder / "tar" / "faces-000000.idx").read_bytes()]


def read_tar(path: Path) -> None:
    """As a data set: where its samples are, and each of them."""
    dataset = tar_dataset(path)
    for index in range(min(len(dataset), 5)):
        with tolerated():
            dataset[index]


@functools.cache
def a_tar() -> bytes:
    with tempfile.TemporaryDirectory() as name:
        return tars(Path(name))[0]


def read_index(path: Path) -> None:
    tar = path.with_suffix(".tar")
    try:
        tar.write_bytes(a_tar())
        sample_ranges(tar)
        read_tar(tar)
    finally:
        tar.unlink()


# 6. The user's Basel Face Model ----------------------------------------------------------------

FRONT = "BFM_model_front.mat"


@functools.cache
def bfm_files() -> dict[str, bytes]:
    """All files of a small model by name, the converted one too."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_small_sources(folder)
        convert_bfm09(folder, folder / FRONT, SMALL)
        files = {path.name: path.read_bytes() for path in folder.iterdir()}
    return {k: undated(v) if k.endswith(".mat") else v for k, v in files.items()}


def undated(content: bytes) -> bytes:
    """A MATLAB file without the time at which it was written."""
    return b"MATLAB 5.0 MAT-file".ljust(116) + content[116:]


def bfm_file(*names: str) -> Callable[[Path], list[bytes]]:
    return lambda folder: [bfm_files()[name] for name in names]


def garble_mat(name: str) -> Callable[[np.random.Generator], bytes]:
    """Arrays of a file are gone, or something else."""

    def garbled(random: np.random.Generator) -> bytes:
        content = loadmat(io.BytesIO(bfm_files()[name]))
        arrays = {key: array for key, array in content.items() if not key.startswith("__")}
        return undated(garble_arrays(arrays, random, savemat))

    return garbled


def beside_the_others(replaced: str, path: Path, folder: Path, left_out: str = "") -> None:
    """All files of the model in a folder, the input in place of one."""
    for name, content in bfm_files().items():
        if name != left_out:
            (folder / name).write_bytes(path.read_bytes() if name == replaced else content)


def convert_with(name: str) -> Callable[[Path], None]:
    def read(path: Path) -> None:
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            beside_the_others(name, path, folder, left_out=FRONT)
            convert_bfm09(folder, folder / FRONT, SMALL)
            try:
                read_bfm_model(folder / FRONT)
            except InputError as error:
                raise AssertionError("it was converted, but cannot be read") from error

    return read


def read_beside(name: str) -> Callable[[Path], None]:
    def read(path: Path) -> None:
        with tempfile.TemporaryDirectory() as folder:
            beside_the_others(name, path, Path(folder))
            load_face_model(FaceModelOptions(face_model="bfm09", bfm_folder=folder))

    return read


KINDS: dict[str, Kind] = {
    "jpg": Kind("jpg", jpegs, read_image),
    "png": Kind("png", pngs, read_image),
    "webp": Kind("webp", webps, read_image),
    "bmp": Kind("bmp", bmps, read_image),
    "mask": Kind("png", pngs, read_mask),
    "landmarks": Kind("txt", landmark_files, read_points),
    "list": Kind("txt", lists, read_flist),
    "truth": Kind("npz", truths, read_truth, garble_truth),
    "label": Kind("json", labels, read_label),
    "face model": Kind("npz", face_models, read_model, garble_face_model),
    "checkpoint": Kind("pth", checkpoints, read_checkpoint, garble_checkpoint),
    "dlib": Kind("dat", dlib_files, read_dlib_resnet),
    "arcface": Kind("onnx", arcface_graphs, read_iresnet_onnx),
    "bfm09": Kind("mat", bfm_file(FRONT), read_beside(FRONT), garble_mat(FRONT)),
    "bfm09 identity": Kind(
        "mat", bfm_file(IDENTITY.name), convert_with(IDENTITY.name), garble_mat(IDENTITY.name)
    ),
    "bfm09 mesh": Kind(
        "mat", bfm_file(MODEL_INFO.name), convert_with(MODEL_INFO.name), garble_mat(MODEL_INFO.name)
    ),
    "bfm09 expression": Kind("bin", bfm_file(EXPRESSION.name), convert_with(EXPRESSION.name)),
    "bfm09 deviations": Kind("txt", bfm_file(DEVIATIONS.name), convert_with(DEVIATIONS.name)),
    "standard points": Kind(
        "mat",
        bfm_file(STANDARD_POINTS_FILE),
        read_beside(STANDARD_POINTS_FILE),
        garble_mat(STANDARD_POINTS_FILE),
    ),
    "options": Kind("yaml", option_files, read_options),
    "shard": Kind("txt", shard_texts, read_shard),
    "results": Kind("csv", result_tables, _read_summary),
    "tar": Kind("tar", tars, read_tar),
    "index": Kind("idx", indices, read_index),
}
if importlib.util.find_spec("webdataset") is None:
    KINDS = {name: kind for name, kind in KINDS.items() if name not in ("tar", "index")}
if importlib.util.find_spec("onnx") is None:
    KINDS.pop("arcface")


# Damage ----------------------------------------------------------------------------------------


def cut(content: bytearray, random: np.random.Generator) -> bytearray:
    return content[: random.integers(0, len(content) + 1)]


def flip(content: bytearray, random: np.random.Generator) -> bytearray:
    for position in random.integers(0, len(content), random.integers(1, 17)):
        content[position] ^= 1 << int(random.integers(8))
    return content


def part_of(content: bytearray, random: np.random.Generator) -> slice:
    start = int(random.integers(0, len(content)))
    return slice(start, start + int(random.integers(1, max(len(content) // 4, 2))))


def garble(content: bytearray, random: np.random.Generator) -> bytearray:
    part = part_of(content, random)
    content[part] = random.bytes(len(content[part]))
    return content


def blank(content: bytearray, random: np.random.Generator) -> bytearray:
    part = part_of(content, random)
    content[part] = bytes([random.choice([0, 0xFF, 0x20])]) * len(content[part])
    return content


def remove(content: bytearray, random: np.random.Generator) -> bytearray:
    del content[part_of(content, random)]
    return content


def repeat(content: bytearray, random: np.random.Generator) -> bytearray:
    part = part_of(content, random)
    content[part] = content[part] * int(random.integers(2, 5))
    return content


def insert(content: bytearray, random: np.random.Generator) -> bytearray:
    pieces = [b"\0", b"\r\n", b"\n\n", b"\xef\xbb\xbf", b"\xff\xfe", b"nan ", b"1e999 ", b"-"]
    pieces += [b"9" * 30, b"../", b"\\", b",", b'"', b"'", b": ", b"&a [*a]", b"{", b"\x1b[31m"]
    position = int(random.integers(0, len(content) + 1))
    content[position:position] = pieces[random.integers(len(pieces))]
    return content


def exchange(content: bytearray, random: np.random.Generator) -> bytearray:
    """Bytes of one kind become others: separators, digits, line ends."""
    pairs = [(b"\n", b"\r\n"), (b" ", b"\t"), (b".", b","), (b"/", b"\\"), (b"1", b"\xb9")]
    pairs += [(b"\r\n", b"\r"), (b":", b"="), (b"0", b"O"), (b"-", "\u2212".encode())]
    old, new = pairs[random.integers(len(pairs))]
    return content.replace(old, new)


DAMAGE = (cut, flip, garble, blank, remove, repeat, insert, exchange)


@functools.cache
def originals(name: str) -> list[bytes]:
    with tempfile.TemporaryDirectory() as folder:
        return KINDS[name].originals(Path(folder))


def damaged(name: str, number: int) -> bytes:
    """One input: the same for the same kind and number."""
    random = np.random.default_rng([zlib.crc32(name.encode()), number])
    kind = KINDS[name]
    if kind.garble is not None and random.random() < 0.5:
        return kind.garble(random)
    files = originals(name)
    content = bytearray(files[random.integers(len(files))])
    for _ in range(random.integers(1, 4)):
        if content:
            content = DAMAGE[random.integers(len(DAMAGE))](content, random)
    return bytes(content)


@contextmanager
def tolerated():
    """What the program does with damage that it has noticed."""
    try:
        yield
    except InputError as error:
        assert str(error).strip(), "an error without a word"
        assert "\n" not in str(error).strip(), f"an error of several lines: {error}"


@contextmanager
def working_in(folder: Path):
    import os

    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def problem_of(name: str, number: int) -> str | None:
    """What goes wrong with one input; None if it is read or refused as it should be."""
    content = damaged(name, number)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"input.{KINDS[name].ending}"
        path.write_bytes(content)
        start = time.monotonic()
        try:
            with tolerated():
                KINDS[name].read(path)
        except Exception:
            return traceback.format_exc()
        if time.monotonic() - start > SECONDS:
            return f"took {time.monotonic() - start:.0f} s"
        if path.read_bytes() != content:
            return "the file was changed"
        if others := [p.name for p in Path(folder).iterdir() if p != path]:
            return f"left {others}"
    return None


def problem_in_time(item: tuple[str, int]) -> str | None:
    """`problem_of` in a process of its own, where a hang can be ended."""
    if not hasattr(signal, "SIGALRM"):
        return problem_of(*item)

    def too_long(*_: object) -> None:
        raise BaseException(f"still not done after {SECONDS} s")

    signal.signal(signal.SIGALRM, too_long)
    signal.alarm(SECONDS)
    try:
        return problem_of(*item)
    except BaseException:
        return traceback.format_exc()
    finally:
        signal.alarm(0)


def shares(count: int) -> list[tuple[str, int]]:
    """Inputs of all kinds alike."""
    each = -(-count // len(KINDS))
    return [(name, number) for number in range(each) for name in KINDS][:count]


def report(problems: dict[tuple[str, int], str]) -> str:
    kinds = Counter(name for name, _ in problems)
    shown = "\n\n".join(f"damaged{item}: {text}" for item, text in list(problems.items())[:5])
    return f"{len(problems)} problems, by kind {dict(kinds)}\n{shown}"


# Tests -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", KINDS)
def test_originals_are_read(tmp_path: Path, name: str) -> None:
    """Else damage would be all that is refused."""
    for content in originals(name):
        path = tmp_path / f"input.{KINDS[name].ending}"
        path.write_bytes(content)
        try:
            KINDS[name].read(path)
        except InputError as error:
            # A part of a large file, and a list whose photos are not there.
            assert name in ("dlib", "list"), error


def test_inputs_repeat_and_differ() -> None:
    for name in KINDS:
        inputs = [damaged(name, number) for number in range(10)]
        assert inputs == [damaged(name, number) for number in range(10)]
        assert len(set(inputs)) > 5


def test_hundreds_of_damaged_files() -> None:
    found = {item: problem_of(*item) for item in shares(480)}
    problems = {item: problem for item, problem in found.items() if problem}
    assert not problems, report(problems)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_ten_thousand_damaged_files() -> None:
    """In a process of its own: a crash of a native library names its input."""
    problems = {}
    tried = 0
    for item, problem in map_in_processes(problem_in_time, shares(10_000), 1):
        tried += 1
        if isinstance(problem, WorkerDied) or problem:
            problems[item] = str(problem)
    assert tried == 10_000
    assert not problems, report(problems)


# Whole folders ---------------------------------------------------------------------------------


def write_prepared(photo: PhotoFiles) -> None:
    image = picture(len(photo.stem))
    write_image(photo.image, image)
    write_landmarks(photo.landmarks, landmarks_68())
    write_image(photo.mask, image[..., 0])


def photos_options(**groups: Any) -> dict[type, Any]:
    options = [AugmentationOptions(), LandmarkOptions(), *groups.values()]
    return {type(group): group for group in options}


def assets() -> Any:
    points = torch.from_numpy(STANDARD_POINTS).float()
    return SimpleNamespace(
        face_model=SimpleNamespace(alignment_points=points), recognition_net=None
    )


def tar_dataset(path: Path) -> FaceDataset:
    from data.webdataset_dataset import WebdatasetDataset
    from options.data_options import WebdatasetOptions

    options = photos_options(tars=WebdatasetOptions(str(path), str(path)))
    return WebdatasetDataset(options, assets(), is_train=True)


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.parametrize("count", [80, pytest.param(800, marks=pytest.mark.slow)])
def test_a_folder_of_damaged_photos_is_prepared_without_losing_any(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    """Each is in the lists or in the report, once; photos and given points stay as they were."""
    given = GivenFaces(landmarks_68(), marked=landmarks_68())
    monkeypatch.setattr(data.preparation, "create_detector", lambda options: given)
    root = tmp_path / "faces"
    for folder in ("", "detections", "landmarks"):
        (root / folder).mkdir(exist_ok=True)
    for number in range(count):
        name = ("jpg", "png", "webp", "bmp")[number % 4]
        damage_it = number % 3 == 0
        content = damaged(name, number) if damage_it else originals(name)[0]
        (root / f"{number}.{name}").write_bytes(content)
        if number % 5 < 2:
            folder = ("detections", "landmarks")[number % 5]
            (root / folder / f"{number}.txt").write_bytes(damaged("landmarks", number))
    before = contents(root)
    options = PreparationOptions((str(root),), num_workers=0)
    for _ in range(2):
        summary = prepare_folders(
            options, DetectionOptions(), list_root=tmp_path / "lists", progress=False
        )
        assert summary.done + summary.skipped + summary.failed == count
        listed = [Path(line).name for line in lines_of(summary.lists / "images.txt")]
        failed = [name for name, _, _ in report_rows(lines_of(summary.reports[0]))]
        photos = [path.name for path in root.iterdir() if path.stem.isdigit()]
        assert sorted(listed + failed) == sorted(photos)
        assert not list(tmp_path.rglob("*.part"))
        after = contents(root)
        for path, content in before.items():
            assert after[path] == content, path


@pytest.mark.parametrize("count", [60, pytest.param(800, marks=pytest.mark.slow)])
def test_an_epoch_over_damaged_photos(tmp_path: Path, count: int) -> None:
    """Whatever is damaged, the epoch gives whole batches of finite numbers."""
    root = tmp_path / "faces"
    lines = []
    for number in range(count):
        photo = PhotoFiles(root / f"{number}.png", str(number))
        write_prepared(photo)
        kind, path = (("png", photo.image), ("landmarks", photo.landmarks), ("mask", photo.mask))[
            number % 3
        ]
        if number % 2:
            path.write_bytes(damaged(kind, number))
        lines.append(photo.listed[2] + "\n")
    flist = tmp_path / "masks.txt"
    flist.write_text("".join(lines), encoding="utf-8")
    options = photos_options(lists=FlistOptions("./", str(flist), str(flist)))
    dataset = FlistDataset(options, assets(), is_train=True)
    few = LoaderOptions(batch_size=10, num_threads=0, max_bad_images=count)
    faces = FaceLoader(dataset, few, seed=0, is_train=True)
    for batch in faces:
        assert len(batch) == 10
        assert batch.landmarks_px is not None and batch.skin_mask is not None
        for tensor in (batch.images, batch.landmarks_px, batch.skin_mask):
            assert torch.isfinite(tensor).all()
    assert 0 < len(faces.bad_images.take()) < count
