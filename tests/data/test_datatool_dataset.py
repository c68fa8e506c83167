"""The datatool's layout: generated faces are read with labels that project their landmarks."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from data.datatool_dataset import DatatoolDataset
from data.synthetic.datatool_layout import generate_datatool
from models.assets import SynergyAssets
from models.face_model import FaceModel
from models.synergy.morphable import SynergyFace
from models.synergy.parameters import SynergyLayout, SynergyMeaning
from options import ParsedOptions
from options.data_options import DatatoolOptions
from options.synthesis_options import SynthesisOptions
from options.train_options import LoaderOptions
from tests.conftest import make_tiny_face_data
from util.errors import InputError
from util.synergy.datatool_files import datatool_whitening, stand_in_arrays


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("datatool") / "out"
    model = FaceModel(make_tiny_face_data())
    for tag, seed in (("SYNTH", 0), ("SYNTH_VAL", 1)):
        options = SynthesisOptions(
            n=2, n_val=0, out=str(root), seed=seed, num_workers=0, looks="plain", layout="datatool"
        )
        generate_datatool(options, model, tag, progress=False)
    return root


def make(
    root: Path, is_train: bool = True, model: FaceModel | None = None, **settings
) -> DatatoolDataset:
    arrays = stand_in_arrays(model or FaceModel(make_tiny_face_data()))
    layout = SynergyLayout(7, 3, 2)
    meaning = SynergyMeaning(layout, 450, "rgb01", 77)
    whitening = datatool_whitening(layout, of_bfm=False)
    assets = SynergyAssets(SynergyFace(arrays, layout, 450), whitening, meaning)
    values = {"train_tags": "SYNTH", "val_tags": " SYNTH_VAL", **settings}
    options = DatatoolOptions(datatool_root_dir=str(root), **values)
    groups = ParsedOptions([options, LoaderOptions(batch_size=1)])
    dataset = DatatoolDataset(groups, assets, is_train)
    dataset.assets = assets  # pyright: ignore
    return dataset


def landmarks_of(dataset: DatatoolDataset, index: int) -> np.ndarray:
    assets: SynergyAssets = dataset.assets  # pyright: ignore
    label = torch.from_numpy(dataset[index].coefficients)[None]
    return assets.face.landmarks(assets.whitening.unwhiten(label))[0].numpy()


def test_labels_project_the_annotated_landmarks(made: Path):
    for is_train, tag in ((True, "SYNTH"), (False, "SYNTH_VAL")):
        dataset = make(made, is_train)
        content = json.loads((made / tag / "dataset.json").read_text("utf-8"))
        assert len(dataset) == len(content["annotations"]) == 2
        for index, entry in enumerate(content["annotations"].values()):
            given = [[p[axis] for p in entry["face_landmarks_3d"]] for axis in "xyz"]
            np.testing.assert_allclose(landmarks_of(dataset, index), given, atol=0.05)
            assert dataset[index].image.shape == (450, 450, 3)
            box = entry["face_bounding_box_2d"]
            assert box["topX"] < min(given[0][:68]) and box["w"] > np.ptp(given[0][:68])


def test_pictures_of_another_size_keep_their_landmarks(made: Path, tmp_path: Path):
    """The same picture at 300 pixels, annotated as such."""
    big, root = make(made), tmp_path / "small"
    folder = root / "SYNTH/sample_files"
    folder.mkdir(parents=True)
    content = json.loads((made / "SYNTH/dataset.json").read_text("utf-8"))
    factor = 300 / 450
    for entry in content["annotations"].values():
        name = f"{entry['id_image']}.jpg"
        picture = Image.open(made / "SYNTH/sample_files" / name).resize((300, 300))
        picture.save(folder / name)
        for point in entry["face_landmarks_3d"]:
            point |= {axis: (point[axis] - 0.5) * factor + 0.5 for axis in "xy"}
        x, y, z = entry["head_translation"]
        entry["head_translation"] = [
            (x - 0.5) * factor + 0.5,
            (y - 0.5) * factor + 0.5,
            z * factor,
        ]
        entry["head_scale"] *= factor
    (root / "SYNTH/dataset.json").write_text(json.dumps(content), encoding="utf-8")
    small = make(root)
    assert small[1].image.shape == (450, 450, 3)
    np.testing.assert_allclose(landmarks_of(small, 1), landmarks_of(big, 1), atol=1e-3)


def test_debug_takes_a_batch(made: Path):
    assert len(make(made, debug=True)) == 1


def test_left_out_annotations_are_said(made: Path, tmp_path: Path):
    content = json.loads((made / "SYNTH/dataset.json").read_text("utf-8"))
    next(iter(content["annotations"].values()))["exp_params"] = []
    root = tmp_path / "out"
    (root / "SYNTH").mkdir(parents=True)
    (root / "SYNTH/sample_files").symlink_to(made / "SYNTH/sample_files")
    (root / "SYNTH/dataset.json").write_text(json.dumps(content), encoding="utf-8")
    dataset = make(root)
    assert len(dataset) == 1
    assert (
        dataset.notice == "1 annotations are left out: 1 with 3 shape and 0 expression parameters"
    )


def test_another_face_model_is_noticed(made: Path):
    data = make_tiny_face_data()
    taller = data.mean_shape * np.array([1, 1.5, 1], np.float32)
    stretched = FaceModel(replace(data, mean_shape=taller))
    with pytest.raises(InputError, match="pixels beside those of its annotation"):
        make(made, model=stretched)


def test_bad_choices_are_named(made: Path, tmp_path: Path):
    with pytest.raises(InputError, match="--train_tags and --val_tags both have SYNTH"):
        make(made, val_tags="SYNTH")
    with pytest.raises(InputError, match="--val_tags is empty"):
        make(made, is_train=False, val_tags=" , ")
    wide = tmp_path / "out/SYNTH"
    (wide / "sample_files").mkdir(parents=True)
    text = (made / "SYNTH/dataset.json").read_text("utf-8")
    (wide / "dataset.json").write_text(text, encoding="utf-8")
    for name in ("000000.jpg", "000001.jpg"):
        Image.new("RGB", (500, 450)).save(wide / "sample_files" / name)
    with pytest.raises(InputError, match="is 500 x 450 pixels"):
        make(tmp_path / "out")[0]
