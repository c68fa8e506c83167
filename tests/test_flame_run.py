"""A run with a face model that has joints: synthetic faces, training, results."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.io import loadmat

from tests.face_files import flame_embedding, write_embedding, write_flame
from tests.test_train_command import load_script
from util.checkpoint import load_checkpoint

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
