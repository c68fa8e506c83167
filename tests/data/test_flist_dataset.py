"""Prepared folders as training samples: found by stem, complete or refused by name."""

import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from data.alignment import align_face
from data.flist_dataset import FlistDataset, read_list
from data.images import read_image, write_image
from data.landmarks import write_landmarks
from data.loader import FaceLoader
from data.sharding import Shard, list_part
from data.skin_mask import skin_mask
from data.synthetic.coefficients import read_truth, write_truth
from data.synthetic.generate import generate
from models.assets import ModelAssets
from models.face_model import FaceModel
from options.data_options import AugmentationOptions, FlistOptions
from options.face_options import LandmarkOptions, LandmarkOrigin
from options.loss_options import LabelOptions
from options.synthesis_options import SynthesisOptions
from options.train_options import LoaderOptions
from tests.conftest import make_tiny_face_data
from util.errors import InputError


def add_photo(folder: Path, name: str, image, landmarks, stem: str | None = None) -> str:
    """A prepared photo; returns the mask's line for the list."""
    stem = stem or Path(name).stem
    write_image(folder / name, image)
    write_landmarks(folder / "landmarks" / f"{stem}.txt", landmarks)
    write_image(folder / "mask" / f"{stem}.png", skin_mask(image))
    return (folder / "mask" / f"{stem}.png").as_posix()


def write_list(path: Path, *entries: str) -> Path:
    path.write_text("".join(f"{entry}\n" for entry in entries), encoding="utf-8")
    return path


@pytest.fixture
def small(astronaut, astronaut_landmarks):
    """(image, landmarks): the face alone, so that files are quick."""
    return np.ascontiguousarray(astronaut[20:260, 120:340]), astronaut_landmarks - [120, 20]


@pytest.fixture
def assets(standard_points):
    points = torch.from_numpy(standard_points).float()
    return SimpleNamespace(
        face_model=SimpleNamespace(alignment_points=points), recognition_net=None
    )


def options(
    flist: Path, root: Path | str = "./", origin: LandmarkOrigin = "index", **augmentation
) -> dict:
    return {
        FlistOptions: FlistOptions(str(root), str(flist), str(flist)),
        AugmentationOptions: AugmentationOptions(**augmentation),
        LandmarkOptions: LandmarkOptions(origin),
    }


def test_a_sample_is_the_aligned_photo(tmp_path, small, assets, standard_points) -> None:
    image, landmarks = small
    entry = add_photo(tmp_path / "faces", "a.png", image, landmarks)
    flist = write_list(tmp_path / "masks.txt", entry)
    dataset = FlistDataset(options(flist), assets, is_train=False)
    assert len(dataset) == 1
    sample = dataset[0]
    points = standard_points.astype(np.float32)
    face = align_face(image, landmarks.round(4), points, skin_mask(image))
    np.testing.assert_array_equal(sample.image, face.image)
    np.testing.assert_array_equal(sample.mask, face.mask)
    assert sample.landmarks is not None
    assert face.landmarks is not None
    np.testing.assert_allclose(sample.landmarks, face.landmarks, atol=1e-3)
    assert sample.path == str(tmp_path / "faces" / "a.png")
    exact = FlistDataset(options(flist, origin="centre"), assets, is_train=False)[0]
    expected = face.alignment.crop_landmarks(landmarks, exact=True)
    assert exact.landmarks is not None
    np.testing.assert_allclose(exact.landmarks, expected, atol=1e-3)


def test_a_folder_that_the_public_code_prepared(tmp_path, small, assets) -> None:
    """Its landmark files count rows from below."""
    image, landmarks = small
    entry = add_photo(tmp_path / "ours", "a.png", image, landmarks)
    from_below = np.stack([landmarks[:, 0], len(image) - 1 - landmarks[:, 1]], axis=1)
    public = add_photo(tmp_path / "public", "a.png", image, from_below)
    flist = write_list(tmp_path / "masks.txt", entry, public)
    ours, theirs = FlistDataset(options(flist), assets, is_train=False)
    np.testing.assert_array_equal(ours.image, theirs.image)
    assert ours.landmarks is not None and theirs.landmarks is not None
    np.testing.assert_allclose(ours.landmarks, theirs.landmarks, atol=1e-3)


def test_training_changes_from_epoch_to_epoch_and_repeats(tmp_path, small, assets) -> None:
    entry = add_photo(tmp_path / "faces", "a.png", *small)
    dataset = FlistDataset(options(write_list(tmp_path / "m.txt", entry)), assets, is_train=True)
    dataset.set_epoch(seed=1, epoch=1)
    first, again = dataset[0], dataset[0]
    np.testing.assert_array_equal(first.image, again.image)
    dataset.set_epoch(seed=1, epoch=2)
    assert (dataset[0].image != first.image).any()
    dataset.set_epoch(seed=1, epoch=1)
    np.testing.assert_array_equal(dataset[0].landmarks, first.landmarks)


def test_augmentation_only_in_training_and_only_if_wanted(tmp_path, small, assets) -> None:
    entry = add_photo(tmp_path / "faces", "a.png", *small)
    flist = write_list(tmp_path / "m.txt", entry)
    plain = FlistDataset(options(flist), assets, is_train=False)[0].image
    off = FlistDataset(options(flist, use_aug=False), assets, is_train=True)[0].image
    none = FlistDataset(options(flist, preprocess="none"), assets, is_train=True)[0].image
    augmented = FlistDataset(options(flist), assets, is_train=True)[0].image
    np.testing.assert_array_equal(off, plain)
    np.testing.assert_array_equal(none, plain)
    assert (augmented != plain).any()


@pytest.mark.parametrize("folder", ["mask", "facemask", "png_faces", "landmarks", "ä mask/mask"])
@pytest.mark.parametrize("name", ["a.jpg", "a.JPEG", "b.c.png"])
def test_only_the_last_folder_is_exchanged(tmp_path, small, assets, folder, name) -> None:
    entry = add_photo(tmp_path / folder, name, *small)
    flist = write_list(tmp_path / "m.txt", entry)
    (photo,) = read_list(flist, Path(), "--flist")
    assert photo.image == tmp_path / folder / name
    assert photo.landmarks == tmp_path / folder / "landmarks" / f"{Path(name).stem}.txt"
    assert FlistDataset(options(flist), assets, is_train=False)[0].image.shape == (224, 224, 3)


def test_paths_count_from_the_data_root(tmp_path, small) -> None:
    add_photo(tmp_path / "datasets" / "x", "a.png", *small)
    flist = write_list(tmp_path / "m.txt", "datasets/x/mask/a.png\r", "", "  ")
    (photo,) = read_list(flist, tmp_path, "--flist")
    assert photo.image == tmp_path / "datasets" / "x" / "a.png"


def test_twins_by_our_rule(tmp_path, small) -> None:
    """a.jpg has stem a, a.png has stem a.png."""
    image, landmarks = small
    entries = [
        add_photo(tmp_path / "x", "a.jpg", image, landmarks),
        add_photo(tmp_path / "x", "a.png", image, landmarks, stem="a.png"),
    ]
    photos = read_list(write_list(tmp_path / "m.txt", *entries), Path(), "--flist")
    assert [photo.image.name for photo in photos] == ["a.jpg", "a.png"]


def test_public_masks_bear_the_photos_own_name(tmp_path, small) -> None:
    image, landmarks = small
    add_photo(tmp_path / "x", "a.jpg", image, landmarks)
    add_photo(tmp_path / "x", "a.jpeg", image, landmarks)  # landmarks/a.txt serves both
    for name in ("a.jpg", "a.jpeg"):
        write_image(tmp_path / "x" / "mask" / name, np.stack([skin_mask(image)] * 3, -1))
    entries = [(tmp_path / "x" / "mask" / name).as_posix() for name in ("a.jpg", "a.jpeg")]
    photos = read_list(write_list(tmp_path / "m.txt", *entries), Path(), "--flist")
    assert [photo.image.name for photo in photos] == ["a.jpg", "a.jpeg"]
    assert [photo.landmarks.name for photo in photos] == ["a.txt", "a.txt"]


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        ("mask/b.png", r"m\.txt, line 2: .*b\.png does not exist"),
        ("landmarks/b.txt", r"m\.txt, line 2: .*b\.txt does not exist"),
        ("b.png", r"m\.txt, line 2: .* has no photo for .*b\.png"),
    ],
)
def test_missing_files_are_named_with_list_and_line(
    tmp_path, small, assets, missing, message
) -> None:
    entries = [add_photo(tmp_path / "x", name, *small) for name in ("a.png", "b.png")]
    (tmp_path / "x" / missing).unlink()
    flist = write_list(tmp_path / "m.txt", *entries)
    first, second = read_list(flist, Path(), "--flist")
    assert not first.problem
    assert re.search(message, second.problem)
    dataset = FlistDataset(options(flist), assets, is_train=True)
    assert dataset.problems == {1: second.problem}
    with pytest.raises(InputError, match=message):
        dataset[1]


def test_photos_removed_after_the_preparation_are_replaced(tmp_path, small, assets) -> None:
    """Before the training starts, and while it runs."""
    names = [f"{number}.png" for number in range(4)]
    entries = [add_photo(tmp_path / "x", name, *small) for name in names]
    (tmp_path / "x" / "1.png").unlink()
    dataset = FlistDataset(options(write_list(tmp_path / "m.txt", *entries)), assets, is_train=True)
    few = LoaderOptions(batch_size=2, num_threads=0, max_bad_images=2)
    faces = FaceLoader(dataset, few, seed=0, is_train=True)
    assert "1 of 4 images cannot be used" in faces.notice
    (tmp_path / "x" / "3.png").unlink()
    seen = {Path(path).name for batch in faces for path in batch.paths}
    assert seen <= {"0.png", "2.png"}
    gone, removed = faces.bad_images.take().values()
    assert "has no photo for" in gone and "line 2" in gone
    assert "3.png cannot be read" in removed and "line 4" in removed
    none = LoaderOptions(batch_size=2, num_threads=0, max_bad_images=0)
    with pytest.raises(InputError, match=r"line 2: .* has no photo .*--max_bad_images 0"):
        FaceLoader(dataset, none, seed=0, is_train=True)


def test_a_removed_twin_does_not_lend_its_mask(tmp_path, small) -> None:
    """With a.jpg gone, a.png would have the stem a."""
    image, landmarks = small
    entries = [
        add_photo(tmp_path / "x", "a.jpg", image, landmarks),
        add_photo(tmp_path / "x", "a.png", image, landmarks, stem="a.png"),
    ]
    (tmp_path / "x" / "a.jpg").unlink()
    first, second = read_list(write_list(tmp_path / "m.txt", *entries), Path(), "--flist")
    assert "has no photo for" in first.problem
    assert (second.image.name, second.problem) == ("a.png", "")
    (photo,) = list_part(tmp_path / "x", Shard())
    assert photo.stem == "a.png"


@pytest.mark.parametrize(
    ("encoding", "line_end"), [("utf-8", "\r\n"), ("utf-8-sig", "\n"), ("utf-16", "\r\n")]
)
@pytest.mark.parametrize("folder", ["mask", "facemask", "ä mask/mask"])
@pytest.mark.parametrize(
    "written", ["relative", "absolute", "backslashes", "relative\\backslashes"]
)
def test_lists_as_any_system_writes_them(
    tmp_path, small, folder: str, written: str, line_end: str, encoding: str
) -> None:
    """Windows' line ends, byte-order marks, blank lines, backslashes: a list of masks alone."""
    add_photo(tmp_path / folder, "a b.jpg", *small)
    line = f"{folder}/mask/a b.png"
    if "relative" not in written:
        line = f"{tmp_path.as_posix()}/{line}"
    if "backslashes" in written:
        line = line.replace("/", "\\")
    flist = tmp_path / "masks.txt"
    flist.write_bytes(line_end.join(["", line, "  ", line, ""]).encode(encoding))
    photos = read_list(flist, tmp_path, "--flist")
    assert [photo.line for photo in photos] == [2, 4]
    for photo in photos:
        assert not photo.problem
        assert photo.image == tmp_path / folder / "a b.jpg"
        assert photo.landmarks == tmp_path / folder / "landmarks" / "a b.txt"


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ([], "names no masks"),
        (["x/images/a.png"], r"line 1: .* does not lie in a folder named mask"),
        (["nowhere/mask/a.png"], "line 1: .*nowhere has no photo"),
    ],
)
def test_bad_lists(tmp_path, entries, message) -> None:
    flist = write_list(tmp_path / "m.txt", *entries)
    with pytest.raises(InputError, match=message):
        read_list(flist, tmp_path, "--flist")


def test_a_missing_list_names_the_flag(tmp_path) -> None:
    with pytest.raises(InputError, match=r"--flist_val .*nowhere\.txt cannot be read"):
        read_list(tmp_path / "nowhere.txt", tmp_path, "--flist_val")


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("a.png", b"", r"a\.png is empty.*m\.txt, line 1"),
        ("landmarks/a.txt", b"1 2\n", r"a\.txt holds 1 points.*m\.txt, line 1"),
        ("landmarks/a.txt", b"1 2\n" * 5, r"a\.txt holds 5 points; expected 68.*line 1"),
        ("landmarks/a.txt", b"nan 2\n" * 68, r"a\.txt: point 1 .*line 1"),
        ("mask/a.png", b"x", r"mask.a\.png is not a .*line 1"),
    ],
)
def test_broken_files_are_named_when_met(tmp_path, small, assets, file, content, message) -> None:
    entry = add_photo(tmp_path / "x", "a.png", *small)
    (tmp_path / "x" / file).write_bytes(content)
    dataset = FlistDataset(options(write_list(tmp_path / "m.txt", entry)), assets, is_train=False)
    with pytest.raises(InputError, match=message):
        dataset[0]


def test_a_mask_of_another_photo(tmp_path, small, assets) -> None:
    entry = add_photo(tmp_path / "x", "a.png", *small)
    write_image(tmp_path / "x" / "mask" / "a.png", np.zeros((50, 60), np.uint8))
    dataset = FlistDataset(options(write_list(tmp_path / "m.txt", entry)), assets, is_train=False)
    with pytest.raises(InputError, match=r"mask is 60 x 50 pixels.*line 1"):
        dataset[0]


# --- synthetic faces and photos together ----------------------------------------------------------


FACES = 6


@pytest.fixture(scope="module")
def synthetic(tmp_path_factory) -> tuple[Path, FaceModel]:
    """The list of synthetic faces of a tiny model."""
    root, model = tmp_path_factory.mktemp("synthetic"), FaceModel(make_tiny_face_data())
    options = SynthesisOptions(n=FACES, out=str(root / "faces"), num_workers=0, looks="plain")
    generate(options, model, list_root=root / "datalist", progress=False)
    return root / "datalist/faces/masks.txt", model


@pytest.fixture
def photos(tmp_path, small) -> Path:
    """A list of three photos without truth."""
    entries = [add_photo(tmp_path / "photos", f"{name}.png", *small) for name in "abc"]
    return write_list(tmp_path / "photos.txt", *entries)


def mixture(flist: str, model: FaceModel, is_train=True, **augmentation) -> FlistDataset:
    chosen = options(Path(), **augmentation) | {FlistOptions: FlistOptions("./", flist, flist)}
    return FlistDataset(chosen, ModelAssets(model), is_train)


def test_synthetic_faces_bring_their_truth(synthetic) -> None:
    """The crop itself, not one aligned again, with exact landmarks."""
    flist, model = synthetic
    dataset = mixture(str(flist), model, is_train=False)
    truth = read_truth(flist.parents[2] / "faces/coefficients.npz")
    for index in range(FACES):
        sample = dataset[index]
        np.testing.assert_array_equal(sample.image, read_image(sample.path))
        np.testing.assert_array_equal(sample.coefficients, truth.coefficients[index])
        assert sample.landmarks is not None
        np.testing.assert_allclose(sample.landmarks + 0.5, truth.landmarks_px[index], atol=1e-4)
    assert dataset.notice == ""
    # True coefficients are known ones: nothing has to be fitted for --w_coeff.
    wanted = options(Path()) | {
        FlistOptions: FlistOptions("./", str(flist), str(flist)),
        LabelOptions: LabelOptions(w_coeff=1.0),
    }
    supervised = FlistDataset(wanted, ModelAssets(model), is_train=True)
    assert supervised[0].coefficients is not None and not supervised[0].fitted


def test_augmentation_keeps_truth_true(synthetic) -> None:
    """Shift and scale, which no coefficients can follow, are left out; rotation is followed."""
    flist, model = synthetic
    plain = mixture(str(flist), model, preprocess="shift_scale")
    turned = mixture(str(flist), model, preprocess="shift_scale_rot_flip")
    roll = model.layout.slices["angles_rad"].start + 2
    still = mixture(str(flist), model, is_train=False)
    angles = []
    for index in range(FACES):
        np.testing.assert_array_equal(plain[index].image, still[index].image)
        before, after = still[index].coefficients, turned[index].coefficients
        assert before is not None and after is not None
        angles.append(np.degrees(after[roll] - before[roll]))
        np.testing.assert_array_equal(after[: model.layout.blocks[0].size], before[:3])
    assert np.abs(angles).max() <= 10 and np.std(angles) > 1


def test_faces_of_another_model_or_camera_are_photos(synthetic, tmp_path) -> None:
    flist, model = synthetic
    folder = flist.parents[2] / "faces"
    whole = (folder / "coefficients.npz").read_bytes()
    truth = read_truth(folder / "coefficients.npz")
    try:
        for change, problem in (
            ({"fingerprint": "other"}, "of the face model"),
            ({"intrinsics": 2 * truth.intrinsics}, "of other cameras"),
        ):
            write_truth(folder / "coefficients.npz", replace(truth, **change))
            dataset = mixture(str(flist), model, is_train=False)
            assert dataset[0].coefficients is None
            assert "taken as photos, without true coefficients" in dataset.notice
            assert problem in dataset.notice
            loader = FaceLoader(dataset, LoaderOptions(num_threads=0), 0, is_train=False)
            assert loader.notice == dataset.notice
    finally:
        (folder / "coefficients.npz").write_bytes(whole)


def batches_of(dataset: FlistDataset, epoch: int, skip: int = 0, workers: int = 0):
    settings = LoaderOptions(batch_size=3, num_threads=workers)
    loader = FaceLoader(dataset, settings, 4, is_train=True)
    loader.set_epoch(epoch, skip)
    return list(loader)


def test_batches_mix_by_shares_and_say_what_has_truth(synthetic, photos) -> None:
    flist, model = synthetic
    dataset = mixture(f"{photos}:2,{flist}:1", model)
    assert len(dataset) == 9
    for epoch in range(3):
        paths = []
        for batch in batches_of(dataset, epoch):
            assert batch.has_truth is not None and batch.coefficients is not None
            is_photo = ["photos" in path for path in batch.paths]
            assert batch.has_truth.tolist() == [not photo for photo in is_photo]
            assert not batch.coefficients[~batch.has_truth].any()
            assert batch.coefficients[batch.has_truth].any(dim=1).all()
            paths += batch.paths
        assert sum("photos" in path for path in paths) == 6
        # Each photo twice, differently augmented.
        assert sorted(Path(path).stem for path in paths if "photos" in path) == list("aabbcc")


def test_mixed_epochs_resume_exactly(synthetic, photos) -> None:
    flist, model = synthetic
    whole = batches_of(mixture(f"{photos}:2,{flist}:1", model), epoch=2)
    rest = batches_of(mixture(f"{photos}:2,{flist}:1", model), epoch=2, skip=1, workers=2)
    assert len(rest) == len(whole) - 1
    for one, two in zip(whole[1:], rest, strict=True):
        assert one.paths == two.paths and torch.equal(one.images, two.images)


def test_copies_of_a_photo_differ(synthetic, photos) -> None:
    flist, model = synthetic
    dataset = mixture(f"{photos}:1,{flist}:1", model)
    assert not np.array_equal(dataset[0].image, dataset[9].image)
    assert dataset[0].path == dataset[9].path


def test_lists_without_shares_are_joined(synthetic, photos) -> None:
    flist, model = synthetic
    dataset = mixture(f"{photos},{flist}", model)
    assert sorted(dataset.shuffled(9, np.random.default_rng(0))) == list(range(9))


def test_shares_need_shuffling(synthetic, photos) -> None:
    flist, model = synthetic
    settings = LoaderOptions(num_threads=0, serial_batches=True)
    with pytest.raises(InputError, match=r"--serial_batches .* shares"):
        FaceLoader(mixture(f"{photos}:1,{flist}:1", model), settings, 0, is_train=True)


def test_shares_of_validation_are_refused(synthetic, photos) -> None:
    flist, model = synthetic
    with pytest.raises(InputError, match=r"--flist_val .*takes every photo once; leave out the sh"):
        mixture(f"{photos}:1,{flist}:1", model, is_train=False)


def test_copies_of_a_bad_photo_are_one_bad_image(synthetic, photos) -> None:
    """Three photos fill nine tenths of an epoch of nine: one of them is met two or three times."""
    flist, model = synthetic
    (photos.parent / "photos/b.png").write_bytes(b"no picture")
    dataset = mixture(f"{photos}:9,{flist}:1", model)
    settings = LoaderOptions(batch_size=3, num_threads=0, max_bad_images=1)
    loader = FaceLoader(dataset, settings, 4, is_train=True)
    met = [sum("b.png" in str(photo.image) for photo in dataset.photos)]
    assert met == [1] and len(list(loader)) == 3
    assert list(loader.bad_images.take()) == ["train 1"]


def test_missing_photos_of_a_mixture_are_counted_in_all_lists(synthetic, photos) -> None:
    """Also where the epoch is smaller than the first list."""
    flist, model = synthetic
    (photos.parent / "photos/b.png").unlink()
    dataset = mixture(f"{flist}:1,{photos}:1", model)
    assert list(dataset.problems) == [FACES + 1]
    settings = LoaderOptions(batch_size=2, num_threads=0, max_bad_images=0, max_dataset_size=4)
    with pytest.raises(InputError, match=r"b\.png.*--max_bad_images 0"):
        FaceLoader(dataset, settings, 4, is_train=True)


def test_the_order_follows_from_shares_and_sizes(synthetic, photos) -> None:
    """So that a resumed training notices other ones."""
    flist, model = synthetic

    def order(text: str) -> dict:
        return FaceLoader(
            mixture(text, model), LoaderOptions(num_threads=0, max_dataset_size=6), 4, is_train=True
        ).order

    assert order(f"{photos}:2,{flist}:1") == order(f"{photos}:4,{flist}:2")
    texts = [f"{photos}:2,{flist}:1", f"{photos}:1,{flist}:1", f"{flist}:2,{photos}:1", f"{flist}"]
    orders = [order(text) for text in [*texts, f"{photos},{flist}"]]
    assert all(one != two for k, one in enumerate(orders) for two in orders[:k])
