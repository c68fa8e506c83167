"""A run with a Basel Face Model of 2017, whose bases keep the sizes that its file has."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from scipy.io import loadmat

from tests.commands import load_script
from tests.face_files import write_bfm_h5
from tests.test_user_face_models import RELEASES
from util.errors import InputError
from util.model_files import bfm_releases
from util.training.checkpoint import load_checkpoint

RUN = ["--gpu_ids=-1", "--num_cpu_threads=1", "--renderer=torch", "--name=basel"]
MAKE = ["--face_model=bfm17", "--n=2", "--n_val=0", "--num_workers=0", "--out=faces"]
TRAIN = [
    *("--net_recon=resnet18", "--w_feat=0", "--batch_size=2", "--n_epochs=1", "--num_threads=0"),
    *("--flist=datalist/faces/masks.txt", "--flist_val=datalist/faces/masks.txt"),
    "--face_model=bfm17",
]


def test_from_synthetic_faces_to_results(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    pytest.importorskip("h5py")
    source = tmp_path / "BFM" / RELEASES[0].file
    write_bfm_h5(source)
    monkeypatch.setattr(bfm_releases, "RELEASES", RELEASES)
    monkeypatch.chdir(tmp_path)
    threads = torch.get_num_threads()
    try:
        make, train, test = (load_script(n) for n in ("make_synthetic", "train", "test"))
        make.main(MAKE)
        train.main([*RUN, *TRAIN])
        layout = load_checkpoint(tmp_path / "checkpoints/basel/epoch_1.pth")["card"]["layout"]
        assert (layout["identity"], layout["expression"], layout["texture"]) == (83, 66, 81)
        test.main([*RUN, "--epoch=1", "--img_folder=faces"])

        # A file with fewer components is another model, and the message counts them.
        write_bfm_h5(source, components=82)
        wanted = (
            r"epoch_1\.pth: trained for the face model bfm17 .*identity:83 expression:66 "
            r"texture:81 .*this run uses bfm17 .*identity:82 expression:66 texture:81"
        )
        with pytest.raises(InputError, match=wanted):
            test.main([*RUN, "--epoch=1", "--img_folder=faces"])
    finally:
        torch.set_num_threads(threads)
    results = tmp_path / "checkpoints/basel/results/faces/epoch_1_000000"
    found = loadmat(next(iter(sorted(results.glob("*.mat")))))
    sizes = [found[key].shape[1] for key in ("id", "exp", "tex", "angle", "gamma", "trans")]
    assert sizes == [83, 66, 81, 3, 27, 3] and found["coeff"].shape == (1, sum(sizes))
