"""The synthetic dataset: its augmentation keeps the truth exact, its errors name the remedy."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from data import FaceLoader, create_dataset
from data.augmentation import Warp
from data.base_dataset import FaceSample
from data.exact_warp import rotate_picture, turn, turn_coefficients
from data.synthetic.coefficients import SyntheticTruth, read_truth, write_truth
from data.synthetic.generate import generate
from data.synthetic.sampling import FaceSampler
from data.synthetic_dataset import FolderFaces, SyntheticDataset, augment
from models.assets import ModelAssets
from models.batch import FaceBatch
from models.camera import Camera
from models.face_model import FaceModel
from models.lighting import AMBIENT
from models.renderer import Renderer
from models.stages import reconstruct
from options.data_options import SyntheticOptions
from options.face_options import FaceModelOptions, LandmarkOptions, LandmarkOrigin
from options.synthesis_options import SynthesisOptions
from options.train_options import LoaderOptions
from util.errors import InputError

COUNT = 8


@pytest.fixture(scope="module")
def face_model(open_face_data) -> FaceModel:
    return FaceModel(open_face_data)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, face_model) -> Path:
    root = tmp_path_factory.mktemp("faces with spaces é")
    options = SynthesisOptions(n=COUNT, out=str(root / "faces"), num_workers=0)
    generate(options, face_model, list_root=root, progress=False)
    return root / "faces"


def dataset(
    folder, face_model, is_train=True, origin: LandmarkOrigin = "centre", **fields
) -> SyntheticDataset:
    paths = {"synthetic_folder": str(folder), "synthetic_folder_val": str(folder)}
    options = {
        SyntheticOptions: SyntheticOptions(**{**paths, **fields}),
        LandmarkOptions: LandmarkOptions(origin),
    }
    faces = create_dataset("synthetic", options, ModelAssets(face_model), is_train=is_train)
    assert isinstance(faces, SyntheticDataset)
    return faces


def truth_of(faces: SyntheticDataset) -> SyntheticTruth:
    assert isinstance(faces.faces, FolderFaces)
    return faces.faces.truth


def landmarks(sample: FaceSample) -> np.ndarray:
    assert sample.landmarks is not None
    return sample.landmarks


def coefficients(sample: FaceSample) -> np.ndarray:
    assert sample.coefficients is not None
    return sample.coefficients


def test_batches_carry_the_truth(folder, face_model) -> None:
    faces = dataset(folder, face_model, is_train=False)
    options = LoaderOptions(batch_size_val=COUNT, num_threads=0)
    (batch,) = list(FaceLoader(faces, options, 0, is_train=False))
    assert batch.landmarks_px is not None
    assert batch.coefficients is not None
    assert batch.skin_mask is not None
    np.testing.assert_allclose(batch.landmarks_px, truth_of(faces).landmarks_px, atol=1e-4)
    np.testing.assert_array_equal(batch.coefficients, truth_of(faces).coefficients)
    assert batch.images.shape == (COUNT, 3, 224, 224)
    assert batch.skin_mask.shape == (COUNT, 1, 224, 224)
    without = dataset(folder, face_model, synthetic_masks=False)[0]
    assert without.mask is None


@pytest.mark.parametrize("workers", [0, 2])
def test_epochs_are_reproducible(folder, face_model, workers) -> None:
    options = LoaderOptions(batch_size=4, num_threads=workers)
    faces = FaceLoader(dataset(folder, face_model), options, 1, is_train=True)
    reference = FaceLoader(
        dataset(folder, face_model), replace(options, num_threads=0), 1, is_train=True
    )

    def epoch(loader: FaceLoader, number: int) -> torch.Tensor:
        loader.set_epoch(number)
        return torch.cat([batch.images for batch in loader])

    first = epoch(faces, 0)
    assert not torch.equal(epoch(faces, 1), first)
    assert torch.equal(epoch(faces, 0), first)
    assert torch.equal(epoch(reference, 0), first)


def test_rotation_of_the_picture_is_rotation_of_the_scene(face_model) -> None:
    """Rendering the turned coefficients gives the turned picture and landmarks."""
    camera, layout, angle = Camera.rnet(), face_model.layout, math.radians(17)
    flat = FaceSampler(face_model).sample(5, range(3)).coefficients
    turned = np.stack([turn_coefficients(c, layout, angle) for c in flat])

    def render(flat: np.ndarray):
        with torch.no_grad():
            return reconstruct(face_model, Renderer(), camera, layout.split(torch.from_numpy(flat)))

    def as_bytes(rendered, item: int) -> np.ndarray:
        return (255 * rendered.rendering.image[item].permute(1, 2, 0).clamp(0, 1)).byte().numpy()

    before, after = render(flat), render(turned)
    torch.testing.assert_close(after.posed.colours, before.posed.colours, atol=2e-5, rtol=0)
    for item in range(3):
        expected = Warp(angle_rad=angle).apply_to_landmarks(
            before.posed.landmarks_px[item].numpy() - 0.5, (224, 224)
        )
        np.testing.assert_allclose(
            after.posed.landmarks_px[item].numpy() - 0.5, expected, atol=2e-3
        )
        picture = rotate_picture(as_bytes(before, item), angle, extend=True)
        expected = as_bytes(after, item)
        difference = np.abs(picture.astype(int) - expected)
        # Edges are resampled, surfaces agree.
        assert np.median(difference[expected > 0]) <= 2
        assert difference.mean() < 3


def test_sample_turns_as_a_whole(folder, face_model) -> None:
    sample = dataset(folder, face_model, is_train=False)[0]
    turned = turn(sample, face_model.layout, 0.2)
    back = turn(turned, face_model.layout, -0.2)
    np.testing.assert_allclose(landmarks(back), landmarks(sample), atol=1e-3)
    np.testing.assert_allclose(coefficients(back), coefficients(sample), atol=1e-5)
    assert np.abs(landmarks(turned) - landmarks(sample)).max() > 5
    roll = face_model.layout.slices["angles_rad"].start + 2
    # Clockwise in the picture is against roll, which counts from x to the upward y.
    change = coefficients(turned)[roll] - coefficients(sample)[roll]
    assert change == pytest.approx(-0.2, abs=1e-6)


@pytest.mark.parametrize("shape", [(60, 50, 3), (61, 50)])
def test_rotation_agrees_with_pillow(shape) -> None:
    smooth = np.add.outer(np.arange(shape[0]) * 2, np.arange(shape[1]))
    picture = np.broadcast_to(smooth.reshape(*smooth.shape, *[1] * (len(shape) - 2)), shape)
    picture = np.ascontiguousarray(picture.astype(np.uint8))
    ours = rotate_picture(picture, 0.3, extend=False)
    pillow = Warp(angle_rad=0.3).apply_to_image(picture, "bilinear")
    difference = np.abs(ours.astype(int) - pillow)
    # A pixel on the very edge may count as outside for one of them.
    assert np.mean(difference > 1) < 0.03
    np.testing.assert_array_equal(rotate_picture(picture, 0.0, extend=False), picture)


def test_extended_pictures_have_no_black_corners() -> None:
    white = np.full((40, 40, 3), 255, dtype=np.uint8)
    assert (rotate_picture(white, 0.4, extend=True) == 255).all()
    assert (rotate_picture(white, 0.4, extend=False) == 0).any()


def test_gain_is_in_the_light(tiny_face_model) -> None:
    """A brighter picture has proportionally brighter true light."""
    layout = tiny_face_model.layout
    sample = FaceSample(
        image=np.full((32, 32, 3), 100, dtype=np.uint8),
        path="",
        landmarks=np.zeros((68, 2), dtype=np.float32),
        coefficients=np.zeros(layout.size, dtype=np.float32),
    )
    options = SyntheticOptions(synthetic_rot_deg=0, synthetic_box_share=0, synthetic_gain=0.1)
    changed = augment(sample, options, layout, np.random.default_rng(0))
    gain = changed.image[0, 0, 0] / 100
    assert gain != 1
    constant = coefficients(changed)[layout.slices["gamma"]].reshape(3, 9)[:, 0] + AMBIENT
    np.testing.assert_allclose(constant / AMBIENT, gain, atol=0.006)
    assert not coefficients(sample).any()


def test_boxes_hide_picture_and_mask(tiny_face_model) -> None:
    sample = FaceSample(np.zeros((64, 64, 3), np.uint8), "", mask=np.full((64, 64), 255, np.uint8))
    options = SyntheticOptions(synthetic_rot_deg=0, synthetic_box_share=1, synthetic_gain=0)
    hidden = []
    for number in range(20):
        random = np.random.default_rng(number)
        covered = augment(sample, options, tiny_face_model.layout, random)
        assert covered.mask is not None
        assert not covered.image[covered.mask > 0].any()
        hidden.append((covered.mask == 0).mean())
    assert 0.01 < np.mean(hidden) < 0.2
    assert not sample.image.any()
    never = replace(options, synthetic_box_share=0)
    plain = augment(sample, never, tiny_face_model.layout, np.random.default_rng(0))
    assert plain.mask is not None
    assert (plain.mask == 255).all()


def test_validation_is_not_augmented(folder, face_model) -> None:
    still = dataset(folder, face_model, is_train=False)
    np.testing.assert_array_equal(still[1].coefficients, truth_of(still).coefficients[1])
    off = dataset(folder, face_model, synthetic_aug=False)
    np.testing.assert_array_equal(off[1].image, still[1].image)


def test_faces_of_another_model_are_refused(folder, tiny_face_model) -> None:
    with pytest.raises(InputError, match=r"--synthetic_folder .*open.*this run uses tiny"):
        dataset(folder, tiny_face_model)


def test_missing_folder_and_images_are_named(folder, face_model, tmp_path) -> None:
    with pytest.raises(InputError, match=r"make_synthetic\.py --out"):
        dataset(tmp_path, face_model)
    (tmp_path / "coefficients.npz").write_bytes((folder / "coefficients.npz").read_bytes())
    with pytest.raises(InputError, match=rf"lacks {COUNT} of its images, such as 000000\.jpg"):
        dataset(tmp_path, face_model)


def test_missing_validation_faces_name_the_command(folder, face_model, tmp_path) -> None:
    """With the next seed: the same one would validate on the training faces."""

    def problem(**fields: Any) -> str:
        with pytest.raises(InputError) as raised:
            dataset(folder, face_model, is_train=False, **fields)
        return str(raised.value)

    missing = tmp_path / "faces_val"
    command = f"--out {tmp_path / 'faces'} --n_val 256`"
    fields: dict[str, Any] = {
        "synthetic_folder": str(tmp_path / "faces"),
        "synthetic_folder_val": str(missing),
    }
    assert f"`python make_synthetic.py {command}" in problem(**fields)
    # The training faces' number and seed are kept.
    made = tmp_path / "faces"
    made.mkdir()
    write_truth(made / "coefficients.npz", replace(read_truth(folder / "coefficients.npz"), seed=7))
    command = f"--out {made} --n {COUNT} --n_val 256 --seed 7`"
    assert command in problem(**fields)
    # A folder of another name is made alone; the training folder's name has spaces.
    command = f"--out {tmp_path / 'other'} --n 256 --n_val 0 --seed 1`"
    assert command in problem(synthetic_folder_val=str(tmp_path / "other"))
    command = f'--out "{folder}" --n {COUNT} --n_val 256`'
    assert command in problem(synthetic_folder_val=f"{folder}_val")


@pytest.mark.parametrize("shape", [(60, 51, 3), (224, 224), (1, 1, 3), (2, 9)])
@pytest.mark.parametrize("extend", [False, True])
def test_rotation_is_that_of_plain_bilinear_sampling(shape, extend) -> None:
    """Oracle: the formula in double precision."""
    picture = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    size = np.array(shape[:2])[:, None, None]
    middle = (size - 1) / 2
    dy, dx = np.indices(shape[:2]) - middle
    for angle in (0.0, 0.14, -0.6, math.pi / 2, 2.5, math.pi):
        sine, cosine = math.sin(angle), math.cos(angle)
        where = np.stack([cosine * dy - sine * dx, cosine * dx + sine * dy]) + middle
        inside = ((where > -0.5) & (where < size - 0.5)).all(axis=0)
        where = np.clip(where, 0, size - 1)
        first = np.floor(where).astype(int)
        (y0, x0), (y1, x1) = first, np.minimum(first + 1, size - 1)
        fy, fx = (where - first).reshape(2, *shape[:2], *[1] * (len(shape) - 2))
        upper = (1 - fx) * picture[y0, x0] + fx * picture[y0, x1]
        lower = (1 - fx) * picture[y1, x0] + fx * picture[y1, x1]
        expected = (1 - fy) * upper + fy * lower
        if not extend:
            expected[~inside] = 0
        difference = np.abs(rotate_picture(picture, angle, extend=extend) - expected)
        # Half a level from rounding, the rest from the weights' twelve bits.
        assert difference[inside if not extend else ...].max() < 0.7
        assert (difference > 0.7).mean() < 0.001


def test_damaged_image_is_named(folder, face_model, tmp_path) -> None:
    (tmp_path / "coefficients.npz").write_bytes((folder / "coefficients.npz").read_bytes())
    for index in range(COUNT):
        (tmp_path / f"{index:06d}.jpg").write_bytes(b"not a picture")
    with pytest.raises(InputError, match=r"000002\.jpg cannot be read"):
        dataset(tmp_path, face_model, synthetic_masks=False)[2]


# --- live ----------------------------------------------------------------------------------------


def live(face_model, is_train=True, count=6, **fields) -> SyntheticDataset:
    return dataset("nowhere", face_model, is_train, synthetic_live=count, **fields)


def test_live_faces_need_no_folder_and_differ_by_epoch(tiny_face_model) -> None:
    faces = live(tiny_face_model, synthetic_aug=False)
    assert len(faces) == 6
    faces.set_epoch(3, 0)
    first, second = faces[0], faces[1]
    assert first.image.shape == (224, 224, 3) and first.image.dtype == np.uint8
    assert first.mask is not None and set(np.unique(first.mask)) <= {0, 255}
    assert not np.array_equal(coefficients(first), coefficients(second))
    # Decoded, the coefficients give the landmarks.
    with torch.no_grad():
        parts = tiny_face_model.layout.split(torch.from_numpy(coefficients(first))[None])
        again = reconstruct(tiny_face_model, Renderer(), Camera.rnet(), parts)
    np.testing.assert_allclose(again.posed.landmarks_px[0] - 0.5, landmarks(first), atol=1e-3)
    faces.set_epoch(3, 1)
    assert not np.array_equal(coefficients(faces[0]), coefficients(first))
    faces.set_epoch(3, 0)
    np.testing.assert_array_equal(faces[0].image, first.image)


def test_live_training_resumes_exactly_with_any_number_of_workers(tiny_face_model) -> None:
    def epoch(skip: int, workers: int) -> list[FaceBatch]:
        settings = LoaderOptions(batch_size=2, num_threads=workers)
        loader = FaceLoader(live(tiny_face_model), settings, 9, is_train=True)
        loader.set_epoch(5, skip)
        return list(loader)

    whole, rest = epoch(0, 0), epoch(1, 2)
    assert len(whole) == 3 and len(rest) == 2
    for one, two in zip(whole[1:], rest, strict=True):
        assert torch.equal(one.images, two.images)
        assert one.coefficients is not None and two.coefficients is not None
        assert torch.equal(one.coefficients, two.coefficients)


def test_live_validation_is_the_same_in_each_epoch_and_apart_from_training(
    tiny_face_model,
) -> None:
    training, validation = live(tiny_face_model), live(tiny_face_model, is_train=False)
    assert len(validation) == 256
    seen = []
    for epoch in range(2):
        training.set_epoch(1, epoch)
        validation.set_epoch(1, epoch)
        seen.append(validation[2].image)
        assert not np.array_equal(training[2].image, validation[2].image)
    np.testing.assert_array_equal(*seen)


def test_live_backgrounds_are_named_if_missing(tiny_face_model) -> None:
    with pytest.raises(InputError, match=r"--synthetic_backgrounds nowhere/pictures does not"):
        live(tiny_face_model, synthetic_backgrounds="nowhere/pictures")
    with pytest.raises(InputError, match="--synthetic_live is -1"):
        SyntheticOptions(synthetic_live=-1)


def test_faces_of_other_cameras_are_refused(folder, face_model, tmp_path) -> None:
    truth = read_truth(folder / "coefficients.npz")
    other = replace(truth, size_px=truth.size_px + 32, settings="--camera rnet --size 256")
    write_truth(tmp_path / "coefficients.npz", other)
    with pytest.raises(InputError, match=r"was made with --camera rnet --size 256.*--flist"):
        dataset(tmp_path, face_model)


@pytest.mark.parametrize("workers", [0, 2])
def test_bad_live_backgrounds_are_named_once(tiny_face_model, tmp_path, capfd, workers) -> None:
    for name in ("a.jpg", "b.jpg"):
        (tmp_path / name).write_bytes(b"no picture")
    faces = live(tiny_face_model, count=8, synthetic_backgrounds=str(tmp_path))
    loader = FaceLoader(faces, LoaderOptions(batch_size=4, num_threads=workers), 9, is_train=True)
    for epoch in range(2):
        loader.set_epoch(epoch)
        list(loader)
    said = [line for line in capfd.readouterr().err.splitlines() if "left out" in line]
    assert len(said) >= 2 and (workers or len(said) == 2)
    for name in ("a.jpg", "b.jpg"):
        assert any(f"Background left out: {tmp_path / name} is not a JPEG" in line for line in said)


def test_a_live_head_is_refused(tiny_face_model) -> None:
    options = {
        SyntheticOptions: SyntheticOptions(synthetic_live=2),
        LandmarkOptions: LandmarkOptions(),
        FaceModelOptions: FaceModelOptions(face_region="head"),
    }
    with pytest.raises(InputError, match="--face_region head is for exports; give --face_region "):
        create_dataset("synthetic", options, ModelAssets(tiny_face_model), is_train=True)
