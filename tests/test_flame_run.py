"""A run with a face model that has joints: synthetic faces, training, results."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.io import loadmat

from data.images import write_image
from data.landmarks import write_landmarks
from models.camera import Camera
from models.renderer import Renderer
from models.stages import reconstruct
from options.face_options import FaceModelOptions
from tests.commands import load_script
from tests.face_files import flame_embedding, write_embedding, write_flame
from util.assets import load_face_model
from util.errors import InputError
from util.training.checkpoint import load_checkpoint

FIT = ["--gpu_ids=-1", "--num_cpu_threads=1", "--face_model=flame", "--preset=balanced"]
RUN = ["--gpu_ids=-1", "--num_cpu_threads=1", "--renderer=torch", "--name=jointed"]
MAKE = [
    *("--face_model=flame", "--n=4", "--n_val=0", "--num_workers=0", "--out=faces"),
]
TRAIN = [
    *("--net_recon=resnet18", "--w_feat=0", "--batch_size=2", "--n_epochs=1", "--num_threads=0"),
    *("--flist=datalist/faces/masks.txt", "--flist_val=datalist/faces/masks.txt"),
    "--face_model=flame",
]


def test_from_synthetic_faces_to_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write_embedding(tmp_path / "BFM", flame_embedding(write_flame(tmp_path / "BFM")))
    monkeypatch.chdir(tmp_path)
    threads = torch.get_num_threads()
    try:
        make, train, test = (load_script(n) for n in ("make_synthetic", "train", "test"))
        make.main(MAKE)
        train.main([*RUN, *TRAIN])
        layout = load_checkpoint(tmp_path / "checkpoints/jointed/epoch_1.pth")["card"]["layout"]
        assert list(layout.items())[-1] == ("joints_rad", 12)
        # The checkpoint says which model it was trained for.
        test.main([*RUN, "--epoch=1", "--img_folder=faces"])
    finally:
        torch.set_num_threads(threads)
    results = tmp_path / "checkpoints/jointed/results/faces/epoch_1_000000"
    found = loadmat(next(iter(sorted(results.glob("*.mat")))))
    assert found["coeff"].shape == (1, 269) and found["joints"].shape == (1, 12)
    np.testing.assert_array_equal(found["coeff"][:, 257:], found["joints"])


def test_a_photo_with_an_open_jaw_is_fitted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write_embedding(tmp_path / "BFM", flame_embedding(write_flame(tmp_path / "BFM")))
    monkeypatch.chdir(tmp_path)
    model = load_face_model(FaceModelOptions("flame"))
    layout = model.layout
    flat = torch.zeros(1, layout.size)
    flat[:, layout.slices["joints_rad"]] = torch.tensor([0, 0, 0, 0.25, *([0] * 8)])
    flat[:, layout.slices["angles_rad"]] = torch.tensor([[0.05, 0.2, 0.0]])
    made = reconstruct(model, Renderer(), Camera.rnet(), layout.split(flat))
    assert made.rendering.image is not None
    picture = torch.where(made.rendering.mask > 0, made.rendering.image.clamp(0, 1), 0.4)
    write_image(Path("photo/a.png"), (255 * picture[0].permute(1, 2, 0)).byte().numpy())
    points = made.posed.landmarks_px[0].double().numpy() - 0.5
    write_landmarks(Path("photo/landmarks/a.txt"), points)
    threads = torch.get_num_threads()
    try:
        fit = load_script("fit")
        fit.main(["photo", "--res_folder=out", "--w_expression=1e-5", *FIT])
        Path("any.mp4").write_bytes(b"\x00\x00\x00\x18ftypmp42" + bytes(99))
        with pytest.raises(InputError, match=r"joints of face model flame move.*take obj"):
            fit.main(["--v_path=any.mp4", "--save_mesh=glb", *FIT])
    finally:
        torch.set_num_threads(threads)
    found = loadmat("out/a.mat")
    assert found["coeff"].shape == (1, layout.size)
    np.testing.assert_array_equal(found["coeff"][:, 257:], found["joints"])
    # Expressions and identity, which move the chin too, take their share.
    assert 0.08 < found["joints"][0, 3] < 0.4
    record = json.loads(Path("out/a_fit.json").read_text(encoding="utf-8"))
    assert "joints_rad" in record["stages"][-1]["terms"]
    assert all(stage["energy_after"] <= stage["energy_before"] for stage in record["stages"])
