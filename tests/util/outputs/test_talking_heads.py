"""Files for talking heads: shapes, types and keys as their programs read them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.io import loadmat

from benchmarks.example_faces import report_row
from models.camera import Camera
from models.face_model import FaceModel
from options.face_options import CameraOptions
from options.output_options import OutputOptions
from tests.bfm_files import SMALL, write_small_sources
from tests.util.outputs.faces import centred_alignment, output_source, photo_face
from util.errors import InputError
from util.model_files.bfm_conversion import convert_bfm09
from util.model_files.bfm_file import read_bfm_model
from util.outputs import OUTPUTS, create_outputs
from util.outputs.output import OutputSource
from util.outputs.talking_heads import TalkingHead
from util.photos.face_result import FaceResult
from util.photos.results import ResultWriter
from util.videos.face_track import FaceTrack

KINDS = [name for name, kind in OUTPUTS.items() if issubclass(kind, TalkingHead)]
CROPPED = ["sadtalker", "pirender", "styleheat"]


@pytest.fixture(scope="module")
def bfm(tmp_path_factory: pytest.TempPathFactory) -> FaceModel:
    """A made-up bfm09 of the published sizes."""
    folder = tmp_path_factory.mktemp("BFM")
    write_small_sources(folder)
    convert_bfm09(folder, folder / "BFM_model_front.mat", SMALL)
    return FaceModel(read_bfm_model(folder / "BFM_model_front.mat")[0])


@pytest.fixture
def face(bfm: FaceModel, tmp_path: Path) -> FaceResult:
    """In a crop of 256 x 256."""
    square = centred_alignment((256, 256), 0.8)
    return photo_face(bfm, tmp_path / "photos", "größe 1.png", square, written=False)


@pytest.fixture
def track(face: FaceResult) -> FaceTrack:
    """Of a video of five frames."""
    one = FaceTrack.of_photo(face)
    rows = {
        name: np.concatenate([getattr(one, name) * (1 + 0.1 * k) for k in range(5)])
        for name in ("coefficients", "trans_params", "landmarks", "K")
    }
    return FaceTrack.of_video("talk", (256, 256), np.ones(5, bool), rows)


def head(bfm: FaceModel, kind: str) -> TalkingHead:
    (named,) = create_outputs(output_source(bfm, save=(kind,)))
    assert isinstance(named.output, TalkingHead)
    return named.output


def unpickled(path: Path) -> dict[str, Any]:
    return np.load(path, allow_pickle=True).item()


def arrays_of(path: Path) -> dict[str, np.ndarray]:
    return {key: value for key, value in loadmat(path).items() if not key.startswith("__")}


def test_all_are_there():
    assert [*CROPPED, "facial", "geneface", "real3dportrait"] == KINDS


def test_sadtalker(bfm: FaceModel, face: FaceResult, track: FaceTrack, tmp_path: Path):
    head(bfm, "sadtalker").write(tmp_path, face)
    arrays = arrays_of(tmp_path / "sadtalker" / "größe 1.mat")
    assert {key: value.shape for key, value in arrays.items()} == {
        "coeff_3dmm": (1, 73),
        "full_3dmm": (1, 257),
    }
    assert {value.dtype for value in arrays.values()} == {np.dtype("<f4")}
    row, full = arrays["coeff_3dmm"][0], arrays["full_3dmm"][0]
    np.testing.assert_array_equal(row[:64], full[80:144])
    np.testing.assert_array_equal(row[64:67], full[224:227])
    np.testing.assert_array_equal(row[67:70], full[254:257])
    # Scale, x and y (up) of the alignment, in pixels of the frame.
    np.testing.assert_allclose(row[70:], [0.8, 128, 128])

    head(bfm, "sadtalker").write_track(tmp_path, track)
    arrays = arrays_of(tmp_path / "sadtalker" / "talk.mat")
    assert arrays["coeff_3dmm"].shape == (5, 73) and arrays["full_3dmm"].shape == (1, 257)
    np.testing.assert_allclose(arrays["full_3dmm"], track.coefficients[:1], rtol=1e-6)


def test_pirender(bfm: FaceModel, face: FaceResult, track: FaceTrack, tmp_path: Path):
    for each in (FaceTrack.of_photo(face), track):
        head(bfm, "pirender").write_track(tmp_path, each)
        arrays = arrays_of(tmp_path / "pirender" / f"{each.stem}.mat")
        assert list(arrays) == ["coeff", "transform_params"]
        assert arrays["coeff"].shape == (len(each), 257)
        assert arrays["transform_params"].shape == (len(each), 5)
        assert {value.dtype for value in arrays.values()} == {np.dtype("<f4")}
    # As its reader of the data base takes bytes: rows of 257 and 3 single-precision numbers.
    text = np.loadtxt(tmp_path / "pirender" / "größe 1_3dmm_coeff.txt")
    assert text.shape == (262,) and not (tmp_path / "pirender/talk_3dmm_coeff.txt").exists()
    photo = arrays_of(tmp_path / "pirender" / "größe 1.mat")
    np.testing.assert_array_equal(np.float32(text[:257]), photo["coeff"][0])
    np.testing.assert_allclose(text[259:262], [0.8, 128, 128])


def test_styleheat(bfm: FaceModel, track: FaceTrack, tmp_path: Path):
    head(bfm, "styleheat").write_track(tmp_path, track)
    array = np.load(tmp_path / "styleheat/3dmm/3dmm_talk.npy", allow_pickle=False)
    assert array.shape == (5, 73) and array.dtype == np.float32
    np.testing.assert_allclose(array[:, 64:67], track.coefficients[:, 224:227], rtol=1e-6)


def test_facial(bfm: FaceModel, face: FaceResult, track: FaceTrack, tmp_path: Path):
    """As it reads a folder: str(number) + ".mat", from 1 to as many as there are."""
    kind = head(bfm, "facial")
    kind.write_track(tmp_path, track)
    folder = tmp_path / "facial" / "talk"
    assert sorted(path.name for path in folder.iterdir()) == [f"{n}.mat" for n in range(1, 6)]
    for number in range(1, 6):
        coeff = loadmat(folder / f"{number}.mat")["coeff"]
        assert coeff.shape == (1, 257) and coeff.dtype == np.float32
        np.testing.assert_allclose(coeff[0], track.coefficients[number - 1], rtol=1e-6)
    assert len(kind.video_files(tmp_path, "talk")) == 5
    kind.write(tmp_path, face)
    assert (tmp_path / "facial" / "größe 1" / "1.mat").is_file()


def test_geneface(bfm: FaceModel, track: FaceTrack, tmp_path: Path):
    head(bfm, "geneface").write_track(tmp_path, track)
    content = unpickled(tmp_path / "geneface" / "talk.npy")
    assert {key: value.shape for key, value in content.items()} == {
        "coeff": (5, 257),
        "lm68": (5, 68, 2),
        "lm5": (5, 5, 2),
    }
    assert {value.dtype for value in content.values()} == {np.dtype("<f4")}
    np.testing.assert_allclose(content["lm5"][:, 2], content["lm68"][:, 30])
    eye = (content["lm68"][:, 36] + content["lm68"][:, 39]) / 2
    np.testing.assert_allclose(content["lm5"][:, 0], eye, rtol=1e-6)


def test_real3dportrait(bfm: FaceModel, face: FaceResult, tmp_path: Path):
    """Its projection of them into the frame, 224 pixels wide, is where the photo shows the face."""
    head(bfm, "real3dportrait").write(tmp_path, face)
    content = unpickled(tmp_path / "real3dportrait" / "größe 1_coeff_fit_mp.npy")
    assert {key: value.shape for key, value in content.items()} == {
        "id": (1, 80),
        "exp": (1, 64),
        "euler": (1, 3),
        "trans": (1, 3),
    }
    assert {value.dtype for value in content.values()} == {np.dtype("<f4")}
    layout = bfm.layout
    flat = torch.zeros(1, layout.size)
    for name, key in (
        ("identity", "id"),
        ("expression", "exp"),
        ("angles_rad", "euler"),
        ("translation_dm", "trans"),
    ):
        flat[:, layout.slices[name]] = torch.from_numpy(content[key])
    from models.stages import pose_face, shape_face

    coefficients, camera = layout.split(flat), Camera.rnet()
    posed = pose_face(bfm, shape_face(bfm, coefficients), coefficients, camera)
    found = posed.landmarks_px[0].numpy() * 256 / 224
    offset = np.linalg.norm(found - (face.landmarks_photo + 0.5), axis=1)
    assert offset.mean() < 0.2 and offset.max() < 0.7


@pytest.mark.parametrize("kind", KINDS)
def test_other_face_models_are_refused(tiny_face_model: FaceModel, kind: str):
    with pytest.raises(InputError, match=rf"--save {kind}: .*bfm09 alone, and these are of tiny 1"):
        head(tiny_face_model, kind)


def test_other_cameras_are_refused(bfm: FaceModel, face: FaceResult, tmp_path: Path):
    for options in (CameraOptions(focal=900.0), CameraOptions(camera_d=9.0)):
        source = OutputSource.of(
            bfm, Camera.rnet(options), "auto", OutputOptions(save=("geneface",))
        )
        with pytest.raises(InputError, match="--save geneface: GeneFace knows the usual camera"):
            create_outputs(source)
    with pytest.raises(ValueError, match="usual focal length alone"):
        head(bfm, "facial").write(tmp_path, replace(face, focal_scale=1.2))


@pytest.mark.parametrize("kind", CROPPED)
def test_uncropped_photos_are_refused(bfm: FaceModel, tmp_path: Path, kind: str):
    large = photo_face(bfm, tmp_path / "photos", "large.png", written=False)
    with pytest.raises(ValueError, match=r"256 x 256 pixels, .*this is 613 x 407.*; crop as"):
        head(bfm, kind).write(tmp_path, large)
    assert not list(tmp_path.iterdir())


def test_frames_that_are_not_square_are_refused(bfm: FaceModel, tmp_path: Path):
    wide = photo_face(bfm, tmp_path / "photos", "wide.png", written=False)
    with pytest.raises(ValueError, match=r"square frames, and this is 613 x 407; crop a square"):
        head(bfm, "real3dportrait").write(tmp_path, wide)
    head(bfm, "geneface").write(tmp_path, wide)  # which takes any


def test_two_faces_have_files_of_their_own(bfm: FaceModel, face: FaceResult, tmp_path: Path):
    """And those of the second go with it."""
    source = output_source(bfm, save=tuple(KINDS))
    second = replace(face, number=2, stem=f"{face.stem}_2")

    def files() -> Iterator[str]:
        for kind in KINDS:
            yield from (p.relative_to(tmp_path).as_posix() for p in (tmp_path / kind).rglob("*.*"))

    counts = []
    for faces in ((face, second), (face,)):
        with ResultWriter(tmp_path, create_outputs(source)) as writer:
            for each in faces:
                writer.add(each, report_row(each))
        assert all(row.status == "ok" and not row.message for row in writer.rows)
        counts.append(sorted(files()))
    assert len(counts[0]) == 2 * len(counts[1]) == 14
    assert not any("_2" in name for name in counts[1])


@pytest.mark.parametrize("kind", KINDS)
def test_non_finite_numbers_are_named(bfm: FaceModel, track: FaceTrack, tmp_path: Path, kind: str):
    track.coefficients[2, 7] = np.nan
    with pytest.raises(ValueError, match="talk: coefficients holds non-finite numbers"):
        head(bfm, kind).write_track(tmp_path, track)
    assert not list(tmp_path.iterdir())
