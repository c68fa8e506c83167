"""A public-style run with the user's own Basel Face Model (here a made-up small one)."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.io import loadmat

from benchmarks.made_up_bfm import write_sources
from data.images import write_image
from data.landmarks import five_from_68, write_landmarks
from models.camera import Camera
from models.face_model import FaceModel
from models.renderer import Renderer
from models.stages import reconstruct
from tests.bfm_files import front_mesh
from tests.commands import load_script
from util import assets
from util.errors import InputError
from util.model_files.bfm_conversion import SourceSizes, convert_bfm09
from util.model_files.bfm_file import read_bfm_model
from util.training.checkpoint import load_checkpoint

SIZES = SourceSizes(
    vertices=2000, components=81, expression_vertices=1900, expression_components=65
)
RUN = ["--gpu_ids=-1", "--num_cpu_threads=1", "--renderer=torch", "--name=mine"]
TRAIN = [
    *("--net_recon=resnet18", "--w_feat=0", "--batch_size=2", "--n_epochs=1", "--num_threads=0"),
    *("--flist=photos/masks.txt", "--flist_val=photos/masks.txt", "--print_freq=1"),
]
train, test = load_script("train"), load_script("test")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's folder: BFM/ with the published files."""
    write_sources(tmp_path / "BFM", front_mesh(40, 46), SIZES)
    monkeypatch.setattr(assets, "convert_bfm09", partial(convert_bfm09, sizes=SIZES))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def make_photos(folder: Path) -> None:
    """Two rendered mean faces, prepared for training, with the five points for testing."""
    model = FaceModel(read_bfm_model(Path("BFM/BFM_model_front.mat"))[0])
    rendered = reconstruct(model, Renderer("torch"), Camera.rnet(), model.layout.zeros(1))
    assert rendered.rendering.image is not None
    pixels = (rendered.rendering.image[0].clamp(0, 1) * 255).byte().permute(1, 2, 0).numpy()
    landmarks = rendered.posed.landmarks_px[0].double().numpy() - 0.5
    names = []
    for stem in ("a", "b"):
        write_image(folder / f"{stem}.png", pixels)
        write_landmarks(folder / "landmarks" / f"{stem}.txt", landmarks)
        write_landmarks(folder / "detections" / f"{stem}.txt", five_from_68(landmarks))
        write_image(folder / "mask" / f"{stem}.png", np.full(pixels.shape[:2], 255, np.uint8))
        names.append(f"{folder.name}/mask/{stem}.png\n")
    (folder / "masks.txt").write_text("".join(names), encoding="utf-8")


def test_from_published_files_to_meshes(folder: Path, capsys: pytest.CaptureFixture[str]):
    convert_bfm09(folder / "BFM", folder / "BFM" / "BFM_model_front.mat", SIZES)
    make_photos(folder / "photos")
    (folder / "BFM" / "BFM_model_front.mat").unlink()

    train.main([*RUN, *TRAIN])
    shown = capsys.readouterr()
    assert "BFM09 to BFM_model_front.mat" in shown.err
    assert "Face model: bfm09 2009 (" in shown.out
    checkpoint = load_checkpoint(folder / "checkpoints/mine/epoch_1.pth")
    card = checkpoint["card"]["face_model"]
    assert card["name"] == "bfm09" and card["fingerprint"] in shown.out
    log = (folder / "checkpoints/mine/loss_log.txt").read_text(encoding="utf-8")
    assert " color: " in log and " reflc: " in log and "nan" not in log

    test.main([*RUN, "--epoch=1", "--img_folder=photos"])
    results = folder / "checkpoints/mine/results/photos/epoch_1_000000"
    assert (results / "a.obj").read_text(encoding="utf-8").count("\nf ") > 3000
    assert loadmat(results / "b.mat")["coeff"].shape == (1, 257)

    # As the public code writes them: no card, and so bfm09 without being told.
    public = {"net_recon": checkpoint["net_recon"]}
    torch.save(public, folder / "checkpoints/mine/epoch_20.pth")
    test.main([*RUN, "--epoch=20", "--img_folder=photos"])
    again = folder / "checkpoints/mine/results/photos/epoch_20_000000"
    np.testing.assert_array_equal(
        loadmat(again / "b.mat")["coeff"], loadmat(results / "b.mat")["coeff"]
    )

    # Its coefficients mean nothing to another model, and without its files it stops.
    with pytest.raises(InputError, match=r"--face_model open: .*trained for the .*model bfm09"):
        test.main([*RUN, "--epoch=20", "--img_folder=photos", "--face_model=open"])
    with pytest.raises(InputError, match=r"epoch_20\.pth .*--face_model bfm09: there is no elsew"):
        test.main([*RUN, "--epoch=20", "--img_folder=photos", "--bfm_folder=elsewhere"])


def test_a_checkpoint_of_the_open_model_is_taken_for_it(folder: Path):
    """Though the user's BFM09 is there, which --face_model auto would choose."""
    convert_bfm09(folder / "BFM", folder / "BFM" / "BFM_model_front.mat", SIZES)
    make_photos(folder / "photos")
    train.main([*RUN, *TRAIN, "--face_model=open"])
    test.main([*RUN, "--img_folder=photos"])
    results = folder / "checkpoints/mine/results/photos/epoch_latest_000000"
    assert (results / "summary.csv").read_text(encoding="utf-8").count("ok") == 2
    with pytest.raises(InputError, match=r"--face_model bfm09: .*trained for the face model open;"):
        test.main([*RUN, "--img_folder=photos", "--face_model=bfm09", "--bfm_folder=elsewhere"])
    with pytest.raises(InputError, match=r"trained for the face model open.*uses bfm09"):
        train.main([*RUN, *TRAIN, "--continue_train", "--n_epochs=2"])
