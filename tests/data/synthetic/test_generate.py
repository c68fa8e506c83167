"""Synthetic faces: reproducible, true to their coefficients, resumable."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from data.flist_dataset import read_list
from data.images import read_image, read_mask, write_image
from data.landmarks import five_from_68, read_landmarks
from data.synthetic import generate as generation
from data.synthetic.coefficients import SyntheticTruth, read_truth, write_truth
from data.synthetic.compositing import background, compose
from data.synthetic.expressions import PRESETS, sample_angles
from data.synthetic.generate import Made, RenderChunk, generate
from data.synthetic.lighting import brighten, lamp_coefficients
from data.synthetic.photographer import Photographer
from data.synthetic.rendering import RenderedFace, SceneRenderer
from data.synthetic.sampling import FaceSampler, generator
from data.synthetic.scene import border_loop, grid_normals, grid_triangles
from models.camera import Camera
from models.face_model import FaceModel
from models.lighting import light_coefficients, sh_basis
from models.renderer import Renderer
from models.stages import reconstruct
from options.synthesis_options import SynthesisOptions
from util.errors import InputError

COUNT = 12


@pytest.fixture(scope="module")
def face_model(open_face_data) -> FaceModel:
    return FaceModel(open_face_data)


def make(folder: Path, face_model: FaceModel, **fields) -> Made:
    fields = {"n": COUNT, "num_workers": 0, "out": str(folder / "faces"), **fields}
    return generate(
        SynthesisOptions(**fields), face_model, list_root=folder / "datalist", progress=False
    )


@pytest.fixture(scope="module")
def made(tmp_path_factory, face_model) -> Path:
    folder = tmp_path_factory.mktemp("synthetic")
    assert make(folder, face_model) == Made(COUNT, COUNT)
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.suffix in (".jpg", ".png", ".txt")
    }


def unit_vectors(count: int) -> np.ndarray:
    vectors = np.random.default_rng(0).standard_normal((count, 3))
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


# --- the files -----------------------------------------------------------------------------------


def test_folder_is_that_of_prepared_photos(made) -> None:
    folder = made / "faces"
    photos = read_list(made / "datalist/faces/masks.txt", Path(), "--flist")
    assert [photo.image.name for photo in photos] == [f"{i:06d}.jpg" for i in range(COUNT)]
    for photo in photos:
        assert read_image(photo.image).shape == (224, 224, 3)
        assert set(np.unique(read_mask(photo.mask))) == {0, 255}
        points = read_landmarks(photo.landmarks)
        assert points.shape == (68, 2)
        five = read_landmarks(folder / "detections" / f"{photo.image.stem}.txt")
        np.testing.assert_allclose(five, five_from_68(points), atol=2e-4)
    assert not (folder / "unfinished").exists()
    for name in ("images", "landmarks"):
        assert len((made / f"datalist/faces/{name}.txt").read_text("utf-8").split()) == COUNT


def test_faces_depend_on_seed_and_number_alone(made, face_model, tmp_path, monkeypatch) -> None:
    """Two processes, another chunk size and another total give the same files."""
    monkeypatch.setattr(generation, "CHUNK", 10)
    assert make(tmp_path, face_model, n=20, num_workers=2).made == 20
    one, two = contents(made / "faces"), contents(tmp_path / "faces")
    assert len(two) == 20 * 4
    assert all(two[name] == content for name, content in one.items())
    first = read_truth(made / "faces/coefficients.npz")
    second = read_truth(tmp_path / "faces/coefficients.npz")
    # The fit of the light rounds otherwise where libraries share their sums among threads.
    np.testing.assert_allclose(first.coefficients, second.coefficients[:COUNT], rtol=0, atol=1e-6)
    np.testing.assert_array_equal(first.landmarks_px, second.landmarks_px[:COUNT])


def test_interrupted_and_extended_runs_make_only_what_is_missing(
    made, face_model, tmp_path
) -> None:
    # A run that was stopped after its second chunk.
    settings = read_truth(made / "faces/coefficients.npz").settings
    photographer = Photographer(face_model)
    RenderChunk(photographer, tmp_path / "faces", 0, 30, settings)(10)
    assert not (tmp_path / "faces/coefficients.npz").exists()
    assert make(tmp_path, face_model, n=20).made == 10
    assert make(tmp_path, face_model, n=20).made == 0
    assert make(tmp_path, face_model, n=22).made == 2
    (tmp_path / "faces/000003.jpg").unlink()
    assert make(tmp_path, face_model, n=22).made == 10
    assert contents(made / "faces").items() <= contents(tmp_path / "faces").items()
    assert len(read_truth(tmp_path / "faces/coefficients.npz").names) == 22


def test_faces_of_other_settings_are_not_mixed(made, face_model, tmp_path) -> None:
    make(tmp_path, face_model, n=2)
    with pytest.raises(InputError, match=r"--seed was 0, now it is 1.*--overwrite"):
        make(tmp_path, face_model, n=2, seed=1)
    assert make(tmp_path, face_model, n=2, seed=1, overwrite=True).made == 2
    first, other = made / "faces/000000.jpg", tmp_path / "faces/000000.jpg"
    assert first.read_bytes() != other.read_bytes()


def test_parts_make_what_one_run_makes(made, face_model, tmp_path, monkeypatch) -> None:
    """As an array job: each part knows nothing of the others; the merger lists what all made."""
    monkeypatch.setattr(generation, "CHUNK", 5)
    assert make(tmp_path, face_model, shard="1/2") == Made(5, 5)
    assert not (tmp_path / "faces/coefficients.npz").exists()
    assert not (tmp_path / "datalist").exists()
    with pytest.raises(InputError, match=r"--merge: 2 of 3 chunks .* faces 0 to 4; .*--shard"):
        make(tmp_path, face_model, merge=True)
    assert make(tmp_path, face_model, shard="0/2") == Made(7, 7)
    assert make(tmp_path, face_model, shard="0/2") == Made(7, 0)
    assert make(tmp_path, face_model, merge=True) == Made(COUNT, 0)
    # Batches begin with a chunk, so that these pictures may differ in the last bit of a sum.
    one, two = (
        read_truth(made / "faces/coefficients.npz"),
        read_truth(tmp_path / "faces/coefficients.npz"),
    )
    np.testing.assert_allclose(one.coefficients, two.coefficients, atol=1e-6)
    assert one.names == two.names
    lists = [(root / "datalist/faces/masks.txt").read_text("utf-8") for root in (made, tmp_path)]
    roots = (made.as_posix(), tmp_path.as_posix())
    listed = {text.replace(root, "") for text, root in zip(lists, roots, strict=True)}
    assert len(listed) == 1
    assert contents(tmp_path / "faces").keys() == contents(made / "faces").keys()
    assert not (tmp_path / "faces/unfinished").exists()


def test_a_part_that_is_made_anew_leaves_the_others(face_model, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(generation, "CHUNK", 2)
    for part in ("0/2", "1/2"):
        make(tmp_path, face_model, n=4, shard=part)
    assert make(tmp_path, face_model, n=4, shard="1/2", overwrite=True) == Made(2, 2)
    assert make(tmp_path, face_model, n=4, merge=True) == Made(4, 0)


def test_parts_go_on_in_a_folder_of_larger_chunks(face_model, tmp_path, monkeypatch) -> None:
    """Chunks of 6, of which the second was stopped; then one part makes all anew."""
    monkeypatch.setattr(generation, "BATCH", 2)
    monkeypatch.setattr(generation, "CHUNK", 6)
    make(tmp_path, face_model, n=8, shard="0/2")
    monkeypatch.setattr(generation, "CHUNK", 2)
    assert make(tmp_path, face_model, n=8, shard="0/2") == Made(4, 0)
    assert make(tmp_path, face_model, n=8, shard="1/2") == Made(4, 2)
    assert make(tmp_path, face_model, n=8, shard="1/2") == Made(4, 0)
    # The first part's file holds faces of the second, which makes them nevertheless.
    new = {"n": 8, "seed": 5}
    assert make(tmp_path, face_model, shard="1/2", overwrite=True, **new) == Made(4, 4)
    assert make(tmp_path, face_model, shard="1/2", **new) == Made(4, 0)
    (tmp_path / "faces/unfinished/000002.npz").unlink()
    assert make(tmp_path, face_model, shard="1/2", **new) == Made(4, 2)
    assert make(tmp_path, face_model, shard="0/2", overwrite=True, **new) == Made(4, 4)
    assert make(tmp_path, face_model, merge=True, **new) == Made(8, 0)


def test_all_parts_are_made_anew_one_after_the_other(face_model, tmp_path, monkeypatch) -> None:
    """With another seed and fewer faces, beside what the other parts had left."""
    monkeypatch.setattr(generation, "CHUNK", 2)
    for part in ("0/2", "1/2"):
        make(tmp_path, face_model, n=6, shard=part)
    new = {"n": 4, "seed": 5}
    with pytest.raises(InputError, match=r"--seed was 0, now it is 5.*or --overwrite"):
        make(tmp_path, face_model, shard="0/2", **new)
    assert make(tmp_path, face_model, shard="0/2", overwrite=True, **new) == Made(2, 2)
    with pytest.raises(InputError, match=r"--seed was 0, now it is 5; make the parts with one"):
        make(tmp_path, face_model, merge=True, **new)
    assert make(tmp_path, face_model, shard="1/2", overwrite=True, **new) == Made(2, 2)
    assert make(tmp_path, face_model, merge=True, **new) == Made(4, 0)
    assert read_truth(tmp_path / "faces/coefficients.npz").seed == 5


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"shard": "2/2"}, "--shard 2/2: part 2 of 2 does not exist"),
        ({"shard": "half"}, "--shard half: expected i/n"),
        ({"shard": "0/2", "merge": True}, "--shard and --merge"),
        ({"size": 5000}, "--size is 5000"),
    ],
)
def test_impossible_settings_are_refused(fields, problem) -> None:
    with pytest.raises(InputError, match=problem):
        SynthesisOptions(**fields)


def test_other_settings_are_not_mixed(face_model, tmp_path) -> None:
    make(tmp_path, face_model, n=2)
    with pytest.raises(InputError, match=r"--maps none.*now it is.*--maps masks"):
        make(tmp_path, face_model, n=2, maps="masks")


def test_the_users_pictures_are_behind_the_faces(face_model, tmp_path) -> None:
    """Four in five have one, bad ones are named, and the choice of pictures is remembered."""
    pictures = tmp_path / "pictures"
    green = np.zeros((200, 300, 3), np.uint8) + np.array([20, 220, 20], np.uint8)
    write_image(pictures / "a.png", green)
    (pictures / "bad.jpg").write_bytes(b"no picture")
    done = make(tmp_path, face_model, n=10, backgrounds=str(pictures), looks="full")
    (sentence,) = done.bad_pictures
    assert "bad.jpg is not a JPEG" in sentence
    corners = np.stack(
        [read_image(path)[:12, :6].mean(axis=(0, 1)) for path in (tmp_path / "faces").glob("*.jpg")]
    )
    # Green, whatever the camera makes of it.
    assert 4 <= (corners[:, 1] > 1.5 * corners[:, [0, 2]].max(axis=1)).sum() <= 10
    write_image(pictures / "b.png", green)
    with pytest.raises(InputError, match=r"of 2 pictures .* of 3 pictures"):
        make(tmp_path, face_model, n=10, backgrounds=str(pictures))


def test_validation_has_its_own_folder_and_seed() -> None:
    options = SynthesisOptions(n=9, n_val=4, out="a/faces", seed=3).validation()
    assert (options.n, options.seed, options.list_name) == (4, 4, "faces_val")
    assert Path(options.out) == Path("a/faces_val")
    # Without further flags there are faces to validate on.
    assert SynthesisOptions().validation().n == 256


@pytest.mark.parametrize("output", ["", ".", "..", "datasets/train", "val/"])
def test_folders_whose_lists_would_be_others_are_refused(output) -> None:
    with pytest.raises(InputError, match="--out is "):
        SynthesisOptions(out=output)


@pytest.mark.parametrize("flag", ["n", "n_val", "size", "seed", "num_workers"])
def test_impossible_numbers_are_refused(flag) -> None:
    values: dict[str, Any] = {flag: -1}
    with pytest.raises(InputError, match=f"--{flag} is -1"):
        SynthesisOptions(**values)


def test_damaged_truth_is_refused(tmp_path) -> None:
    path = tmp_path / "coefficients.npz"
    with pytest.raises(InputError, match="does not exist; make synthetic faces"):
        read_truth(path)
    truth = SyntheticTruth(
        names=("a.jpg",),
        coefficients=np.zeros((1, 5)),
        landmarks_px=np.zeros((1, 68, 2)),
        visible=np.ones((1, 68), bool),
        intrinsics=np.ones((1, 3, 3)),
        rotation=np.ones((1, 3, 3)),
        translation_dm=np.ones((1, 3)),
        size_px=np.full((1, 2), 224),
        face_model="tiny 1",
        fingerprint="abc",
        seed=0,
        settings="",
        generator_version=1,
    )
    write_truth(path, truth)
    assert read_truth(path).names == ("a.jpg",)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="cannot be read"):
        read_truth(path)
    path.write_text("no archive", encoding="utf-8")
    with pytest.raises(InputError, match=r"is text; make the set again"):
        read_truth(path)
    bad = SyntheticTruth(**{**vars(truth), "coefficients": np.full((1, 5), np.nan)})
    write_truth(path, bad)
    with pytest.raises(InputError, match="damaged"):
        read_truth(path)


# --- the truth -----------------------------------------------------------------------------------


def test_coefficients_explain_the_pictures(made, face_model) -> None:
    """Decoded and rendered again they give the landmarks, the mask and about the colours."""
    truth = read_truth(made / "faces/coefficients.npz")
    assert truth.fingerprint == face_model.card.fingerprint
    coefficients = face_model.layout.split(torch.from_numpy(truth.coefficients))
    with torch.no_grad():
        again = reconstruct(face_model, Renderer(), Camera.rnet(), coefficients)
    np.testing.assert_allclose(again.posed.landmarks_px, truth.landmarks_px, atol=1e-3)
    assert again.rendering.image is not None
    differences = []
    for index, name in enumerate(truth.names):
        stem = Path(name).stem
        points = read_landmarks(made / f"faces/landmarks/{stem}.txt")
        np.testing.assert_allclose(points + 0.5, truth.landmarks_px[index], atol=1e-3)
        skin = read_mask(made / f"faces/mask/{stem}.png") > 0
        assert skin.sum() > 2000
        assert again.rendering.mask[index, 0].numpy()[skin].mean() > 0.995
        picture = read_image(made / f"faces/{name}") / 255
        rendered = again.rendering.image[index].permute(1, 2, 0).numpy()
        differences.append(np.abs(picture - rendered)[skin].mean())
    # Gloss, shadow, noise, tone curve and JPEG remain.
    assert np.median(differences) < 0.06


def test_poses_and_translations_are_those_of_aligned_photos(face_model) -> None:
    coefficients = FaceSampler(face_model).sample(0, range(300)).coefficients
    parts = {n: coefficients[:, part] for n, part in face_model.layout.slices.items()}
    assert np.isfinite(coefficients).all()
    np.testing.assert_allclose(parts["identity"].std(), 1, atol=0.03)
    assert (np.abs(np.degrees(parts["angles_rad"])) <= [25, 55, 20]).all()
    spread = parts["translation_dm"].std(axis=0)
    assert (spread > [0.01, 0.02, 0.3]).all()
    assert (spread < [0.1, 0.12, 1.2]).all()
    # Named units alone leave no expression at zero strength.
    assert (np.abs(parts["expression"]).sum(axis=1) > 0).all()


def test_sample_is_its_own_stream(face_model) -> None:
    sampler = FaceSampler(face_model)

    def draw(seed: int, numbers) -> np.ndarray:
        return sampler.sample(seed, numbers).coefficients

    np.testing.assert_array_equal(draw(3, [7])[0], draw(3, range(5, 9))[2])
    assert not np.array_equal(draw(3, [7]), draw(4, [7]))


def test_many_look_at_the_camera_and_eyes_converge(face_model) -> None:
    """Measured on the pupils of the decoded faces, whatever the units say."""
    drawn = FaceSampler(face_model).sample(0, range(200)).coefficients
    parts = face_model.layout.split(torch.from_numpy(drawn))
    neutral = torch.zeros_like(parts.expression)
    eyes = []
    for side in ("eye_left", "eye_right"):
        pupil = face_model.regions[side] & face_model.regions["pupil"]
        moved = face_model.shape(parts.identity, parts.expression)[:, pupil].mean(dim=1)
        rest = face_model.shape(parts.identity, neutral)[:, pupil].mean(dim=1)
        eyes.append((moved - rest)[:, 0].numpy())
    sideways, towards = (eyes[0] + eyes[1]) / 2, eyes[0] - eyes[1]
    # The direction of the camera, as the head sees it.
    yaw = drawn[:, face_model.layout.slices["angles_rad"]][:, 1]
    gaze = np.degrees(np.arcsin(np.clip(sideways / 0.125, -1, 1)))
    moderate = np.abs(np.degrees(yaw)) < 20
    off = np.abs(gaze + np.degrees(yaw))[moderate]
    assert np.mean(off < 8) > 0.5 > np.mean(off > 15)
    # Left eyes, at positive x, turn inwards, to negative x, as right ones to positive.
    assert np.median(towards) < -0.002
    assert (towards < 0.02).all()


def test_expressions_are_mixtures_with_room_for_calm(face_model) -> None:
    """Units explain them; a good share is near neutral; lids close at times."""
    drawn = FaceSampler(face_model).sample(0, range(300)).coefficients
    expression = drawn[:, face_model.layout.slices["expression"]]
    units = face_model.unit_matrix.numpy()
    residual = expression - expression @ np.linalg.pinv(units) @ units
    assert np.square(residual).sum() < 0.05 * np.square(expression).sum()
    blink = units[[face_model.unit_names.index("eyeBlinkLeft")]]
    weights = np.linalg.lstsq(units.T, expression.T, rcond=None)[0].T
    left = weights[:, face_model.unit_names.index("eyeBlinkLeft")]
    right = weights[:, face_model.unit_names.index("eyeBlinkRight")]
    assert blink.any()
    assert 0.03 < np.mean((left > 0.6) & (right > 0.6)) < 0.2


def test_every_preset_uses_units_of_the_open_model(face_model) -> None:
    names = set(face_model.unit_names)
    for preset in PRESETS:
        for unit in preset:
            assert {unit, f"{unit}Left"} & names, unit


def test_face_models_without_units_work(tiny_face_data) -> None:
    plain = FaceModel(
        type(tiny_face_data)(
            **{**vars(tiny_face_data), "unit_names": (), "unit_matrix": np.zeros((0, 0))}
        )
    )
    drawn = FaceSampler(plain).sample(0, range(3))
    for face in SceneRenderer(plain).render(drawn, 0, range(3)):
        assert face.colour.shape == (224, 224, 3)
        assert np.isfinite(face.colour).all()
        assert face.coverage.mean() > 0.2


# --- light ---------------------------------------------------------------------------------------


def test_lamp_is_the_best_fit_of_a_clamped_cosine() -> None:
    """Oracle: least squares over a sphere of normals."""
    normals, direction = unit_vectors(20000), np.array([0.48, 0.6, 0.64])
    basis = sh_basis(torch.from_numpy(normals)).numpy()
    fitted = np.linalg.lstsq(basis, np.maximum(normals @ direction, 0), rcond=None)[0]
    np.testing.assert_allclose(lamp_coefficients(direction), fitted, atol=0.005)


def test_brighten_scales_irradiance() -> None:
    gamma = np.random.default_rng(0).normal(0, 0.2, 27)
    gain = np.array([0.8, 1.0, 1.3])
    basis = sh_basis(torch.from_numpy(unit_vectors(50)))
    before = basis @ light_coefficients(torch.from_numpy(gamma)[None])[0]
    after = basis @ light_coefficients(torch.from_numpy(brighten(gamma, gain))[None])[0]
    torch.testing.assert_close(after, before * torch.from_numpy(gain))


def test_angles_are_within_their_limits() -> None:
    angles = np.stack([sample_angles(generator(0, i, 0)) for i in range(500)])
    assert np.degrees(angles[:, 1]).std() > 15
    assert np.degrees(np.abs(angles)).max(axis=0) == pytest.approx([25, 55, 20], abs=6)


# --- geometry and picture ------------------------------------------------------------------------


def test_border_loop_goes_around_the_mesh(tiny_mesh) -> None:
    columns, rows = 12, 14
    loop = border_loop(tiny_mesh.triangles.numpy(), tiny_mesh.vertices.numpy())
    assert len(loop) == len(set(loop.tolist())) == 2 * (columns + rows) - 4
    steps = np.abs(np.diff(np.append(loop, loop[0])))
    assert set(steps.tolist()) <= {1, columns}


def test_closed_surface_has_no_border() -> None:
    tetrahedron = np.array([[0, 1, 2], [0, 2, 3], [0, 3, 1], [1, 3, 2]])
    with pytest.raises(ValueError, match="no border"):
        border_loop(tetrahedron, np.eye(4, 3))


def test_grid_of_a_cylinder() -> None:
    angle = np.linspace(0, 2 * np.pi, 16, endpoint=False)
    height = np.linspace(1, -1, 5)
    ring = np.stack([np.cos(angle), 0 * angle, np.sin(angle)], axis=-1)
    points = ring[None] + height[:, None, None] * np.array([0, 1, 0])
    triangles = grid_triangles(5, 16, closed=True)
    assert triangles.shape == (2 * 4 * 16, 3)
    a, b, c = (points.reshape(-1, 3)[triangles[:, k]] for k in range(3))
    area = np.linalg.norm(np.cross(b - a, c - a), axis=1).sum() / 2
    assert area == pytest.approx(2 * 16 * 2 * np.sin(np.pi / 16))
    expected = np.broadcast_to(ring, points.shape)
    np.testing.assert_allclose(grid_normals(points[None])[0], expected, atol=1e-12)


def test_rendering_is_premultiplied_and_shows_skin_on_the_face_only(face_model) -> None:
    drawn = FaceSampler(face_model).sample(0, range(4))
    partial = 0
    for face in SceneRenderer(face_model).render(drawn, 0, range(4)):
        assert (face.colour <= face.coverage[..., None] + 1e-5).all()
        assert (face.skin <= face.coverage + 1e-5).all()
        # Antialiased: some pixels are covered in part.
        partial += ((face.coverage > 0.1) & (face.coverage < 0.9)).sum()
    assert 100 < partial / 4 < 5000


def test_pictures_vary_and_hide_what_they_cover() -> None:
    """Masks lose what occluders cover; gains are reported as they were applied."""
    ones = np.ones((64, 64), dtype=np.float32)
    face = RenderedFace(
        colour=np.full((64, 64, 3), 0.5, dtype=np.float32),
        coverage=ones,
        skin=ones,
        landmarks_px=np.random.default_rng(0).uniform(10, 54, (68, 2)),
        visible=np.ones(68, bool),
        gamma=np.zeros(27),
        skin_colour=np.full(3, 0.5),
    )
    masks, gains, sizes = [], [], []
    for index in range(60):
        photo = compose(generator(0, index, 2), face)
        np.testing.assert_array_equal(photo.skin_mask == 0, photo.cover > 0)
        masks.append((photo.skin_mask > 0).mean())
        gains.append(photo.gain)
        sizes.append(len(photo.jpeg))
    assert min(masks) < 0.95
    assert np.mean(np.array(masks) == 1) > 0.4
    assert 0.03 < np.std(gains) < 0.15
    assert len(set(sizes)) > 20


def test_backgrounds_are_pictures() -> None:
    looks = [background(generator(0, i, 2), 40, 50) for i in range(40)]
    for look in looks:
        assert look.shape == (40, 50, 3)
        assert look.min() >= 0
        assert look.max() <= 1
    assert np.std([look.mean() for look in looks]) > 0.1


def test_jpeg_quality_varies(made) -> None:
    tables = set()
    for path in (made / "faces").glob("*.jpg"):
        with Image.open(path) as image:
            tables.add(tuple(image.quantization[0]))  # pyright: ignore[reportAttributeAccessIssue]
    assert len(tables) > COUNT // 2
