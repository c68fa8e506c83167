"""`train.py` in two processes on the CPU: trains, validates, saves and resumes as in one."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from data.synthetic.generate import generate
from models.face_model import FaceModel, FaceModelData
from options.synthesis_options import SynthesisOptions
from tests.prepared_photos import make_photos
from tests.train_processes import ended, start, train, train_tiny, train_two, two_places
from util.training.checkpoint import load_checkpoint
from util.training.checkpoint_names import list_checkpoints

ROOT = Path(__file__).resolve().parents[1]
TEMPLATE = ["--model", "template", "--dataset_mode", "template", "--disc_size_px", "16"]
RUN = ["--gpu_ids", "-1", "--num_threads", "1", "--num_cpu_threads", "1", "--print_freq", "1"]
# Three faces in one process, two in the other; three validation batches for two processes.
SIZES = ["--num_discs", "12", "--batch_size", "5", "--batch_size_val", "1", "--lr", "0.1"]
FLAGS = [*TEMPLATE, *RUN, *SIZES]
COMMAND = [str(ROOT / "train.py"), *FLAGS]


def train_one(folder: Path, name: str, *argv: str) -> str:
    return train(folder, *FLAGS, "--name", name, *argv)


def train_both(folder: Path, name: str, *argv: str) -> str:
    return train_two(folder, *FLAGS, "--name", name, *argv)


def colour(folder: Path, name: str, epoch: str) -> torch.Tensor:
    path = folder / "checkpoints" / name / f"epoch_{epoch}.pth"
    return load_checkpoint(path, ("net_colour",))["net_colour"]["colour"]


def log(folder: Path, name: str) -> list[str]:
    lines = (folder / "checkpoints" / name / "loss_log.txt").read_text("utf-8").splitlines()
    return [line for line in lines if not line.startswith(("===", "epoch "))]  # headings, seconds


def test_two_processes_train_as_one(tmp_path: Path):
    train_one(tmp_path, "one", "--n_epochs", "3")
    shown = train_both(tmp_path, "two", "--n_epochs", "3")
    assert "12 faces to train on, 3 to validate on, on 2 processes on cpu" in shown
    assert shown.count("faces to train on") == shown.count("(val, epoch 1") == 1
    assert list_checkpoints(tmp_path / "checkpoints" / "two") == ["1", "2", "3", "latest"]
    # Every logged loss of training and validation, learning rates included, to its four digits.
    assert log(tmp_path, "two") == log(tmp_path, "one") and len(log(tmp_path, "one")) == 9
    for epoch in ("1", "3"):
        torch.testing.assert_close(
            colour(tmp_path, "two", epoch), colour(tmp_path, "one", epoch), rtol=1e-5, atol=1e-6
        )
    # Stopped and resumed: bit for bit.
    train_both(tmp_path, "parts", "--n_epochs", "1")
    shutil.copytree(tmp_path / "checkpoints" / "parts", tmp_path / "checkpoints" / "fewer")
    train_both(tmp_path, "parts", "--n_epochs", "3", "--continue_train")
    assert torch.equal(colour(tmp_path, "parts", "3"), colour(tmp_path, "two", "3"))
    # What two have begun, one can end.
    shown = train_one(tmp_path, "fewer", "--n_epochs", "3", "--continue_train")
    assert "Resumed with other settings: the number of processes is 1 (was 2)" in shown
    torch.testing.assert_close(
        colour(tmp_path, "fewer", "3"), colour(tmp_path, "one", "3"), rtol=1e-5, atol=1e-6
    )


def test_two_processes_train_a_network_on_photos(tmp_path: Path, open_face_data: FaceModelData):
    """Batch normalisation, augmentation and a plateau's schedule too resume bit for bit."""
    make_photos(tmp_path / "photos", FaceModel(open_face_data), 5)
    lists = ["--flist", "photos/masks.txt", "--flist_val", "photos/masks.txt"]
    net = ["--net_recon", "resnet18", "--w_feat", "0", "--face_model", "open", "--lr", "1e-3"]
    run = ["--gpu_ids", "-1", "--num_threads", "0", "--num_cpu_threads", "1"]
    sizes = ["--batch_size", "3", "--batch_size_val", "2", "--lr_policy", "plateau"]
    argv = [*lists, *net, *run, *sizes, "--data_root", "."]
    train_two(tmp_path, *argv, "--name", "whole", "--n_epochs", "2")
    train_two(tmp_path, *argv, "--name", "parts", "--n_epochs", "1")
    train_two(tmp_path, *argv, "--name", "parts", "--n_epochs", "2", "--continue_train")
    whole, parts = (
        load_checkpoint(tmp_path / "checkpoints" / name / "epoch_2.pth")
        for name in ("whole", "parts")
    )
    assert whole["net_recon"].keys() == parts["net_recon"].keys()
    for name, value in whole["net_recon"].items():
        assert torch.equal(value, parts["net_recon"][name]), name
    assert whole["sched_00"] == parts["sched_00"]


def test_the_first_process_alone_writes(tmp_path: Path):
    """The other one stands in another folder, where nothing appears."""
    folders = [tmp_path / "first", tmp_path / "other"]
    for folder in folders:
        folder.mkdir()
    with two_places() as places:
        processes = [
            start(train_tiny, [*FLAGS, "--n_epochs", "1"], folder=folder, environment=place)
            for folder, place in zip(folders, places, strict=True)
        ]
        codes = [ended(process) for process in processes]
    assert codes == [0, 0], (folders[0] / "process.err").read_text("utf-8")
    assert list_checkpoints(folders[0] / "checkpoints" / "face_recon") == ["1", "latest"]
    assert sorted(path.name for path in folders[1].iterdir()) == ["process.err", "process.out"]


@pytest.mark.slow
def test_two_processes_look_at_a_mixture(tmp_path: Path, open_face_data: FaceModelData):
    """At step 10 one of them has a photo, and the other one a face with truth."""
    face_model = FaceModel(open_face_data)
    make_photos(tmp_path / "photos", face_model, 4)
    made = SynthesisOptions(n=4, out=str(tmp_path / "faces"), num_workers=0)
    generate(made, face_model, list_root=tmp_path / "datalist", progress=False)
    mixture = f"photos/masks.txt:1,{tmp_path / 'datalist/faces/masks.txt'}:1"
    lists = ["--flist", mixture, "--flist_val", "photos/masks.txt", "--data_root", "."]
    net = ["--net_recon", "resnet18", "--w_feat", "0", "--face_model", "open"]
    truth = ["--w_truth_shape", "1", "--weak_from", "1"]
    run = ["--gpu_ids", "-1", "--num_threads", "0", "--num_cpu_threads", "1"]
    sizes = ["--batch_size", "2", "--batch_size_val", "2", "--n_epochs", "3", "--lr", "1e-5"]
    sizes += ["--seed", "0"]  # which deals so
    train_two(tmp_path, *lists, *net, *truth, *run, *sizes, "--name", "mixture")
    assert "(val, epoch 3" in "\n".join(log(tmp_path, "mixture"))


def test_bad_photos_of_both_processes_are_counted_together(
    tmp_path: Path, open_face_data: FaceModelData
):
    """Each process meets two of the four; three are allowed."""
    make_photos(tmp_path / "photos", FaceModel(open_face_data), 8)
    for number in range(4):
        path = tmp_path / "photos" / f"photo {number}.png"
        path.write_bytes(path.read_bytes()[:2000])
    lists = ["--flist", "photos/masks.txt", "--flist_val", "photos/masks.txt"]
    net = ["--net_recon", "resnet18", "--w_feat", "0", "--face_model", "open"]
    run = ["--gpu_ids", "-1", "--num_threads", "0", "--num_cpu_threads", "1"]
    # Faces 0, 1 go to the first process and 2, 3 to the other one.
    order = ["--batch_size", "4", "--serial_batches", "--n_epochs", "1"]
    argv = [*lists, *net, *run, *order, "--data_root", "."]
    with two_places() as places:
        processes = [
            start(
                train_tiny,
                [*argv, "--max_bad_images", "3"],
                folder=tmp_path,
                name=f"rank{rank}",
                environment=place,
            )
            for rank, place in enumerate(places)
        ]
        assert [ended(process) for process in processes] == [2, 2]
    for rank in range(2):
        assert "4 images of this epoch cannot be used" in (tmp_path / f"rank{rank}.err").read_text(
            "utf-8"
        )
    log_text = (tmp_path / "checkpoints" / "face_recon" / "loss_log.txt").read_text("utf-8")
    for number in range(4):
        assert log_text.count(f"photo {number}.png is damaged") == 1


@pytest.mark.gpu
@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA devices")
@pytest.mark.parametrize("amp", ["none", "fp16"])
def test_two_gpus_train_as_one(tmp_path: Path, open_face_data: FaceModelData, amp: str):
    """By NCCL, started by the command itself: losses as on one GPU, and resumed."""
    make_photos(tmp_path / "photos", FaceModel(open_face_data), 6)
    lists = ["--flist", "photos/masks.txt", "--flist_val", "photos/masks.txt", "--data_root", "."]
    net = ["--net_recon", "resnet18", "--w_feat", "0", "--face_model", "open", "--lr", "1e-4"]
    sizes = ["--batch_size", "4", "--batch_size_val", "2", "--use_aug", "False", "--amp", amp]
    command = [sys.executable, str(ROOT / "train.py"), *lists, *net, *sizes, "--print_freq", "1"]
    for name, gpus, more in (
        ("one", "0", []),
        ("two", "0,1", []),
        ("two", "0,1", ["--n_epochs", "3", "--continue_train"]),
    ):
        run = ["--gpu_ids", gpus, "--num_threads", "1", "--n_epochs", "2", "--name", name, *more]
        result = subprocess.run(
            [*command, *run], cwd=tmp_path, capture_output=True, text=True, timeout=280
        )
        assert result.returncode == 0, result.stderr
    assert list_checkpoints(tmp_path / "checkpoints" / "two") == ["1", "2", "3", "latest"]
    one, two = (
        load_checkpoint(tmp_path / "checkpoints" / name / "epoch_2.pth")["net_recon"]
        for name in ("one", "two")
    )
    for name, value in one.items():
        assert torch.isfinite(two[name]).all()
        if amp == "none":
            torch.testing.assert_close(two[name], value, rtol=0, atol=1e-3, msg=name)


@pytest.mark.slow  # starts five interpreters
def test_under_torchrun(tmp_path: Path):
    starter = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    argv = ["--name", "run", "--n_epochs", "1", "--world_size", "3"]
    result = subprocess.run(
        [sys.executable, *starter, *COMMAND, *argv],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert result.returncode == 0, result.stderr
    shown = result.stdout
    assert "--world_size 3 has no effect: the group has 2 processes" in shown
    assert "on 2 processes on cpu" in shown and shown.count("faces to train on") == 1
    train_one(tmp_path, "one", "--n_epochs", "1")
    assert log(tmp_path, "run") == log(tmp_path, "one")


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks for processes in /proc")
@pytest.mark.slow  # starts five interpreters
def test_under_torchrun_on_two_machines(tmp_path: Path):
    """Each with an agent and one process of its own, as far as one machine can show it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    starter = ["-m", "torch.distributed.run", "--nnodes", "2", "--nproc_per_node", "1"]
    starter += ["--master_addr", "127.0.0.1", "--master_port", port]
    argv = [*COMMAND, "--name", "run", "--n_epochs", "1"]
    agents = [
        subprocess.Popen(
            [sys.executable, *starter, "--node_rank", str(rank), *argv],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    shown = [agent.communicate(timeout=200) for agent in agents]
    assert agents[0].returncode == 0, shown[0][1]
    assert "on 2 processes on cpu" in shown[0][0] and "faces to train on" not in shown[1][0]
    train_one(tmp_path, "one", "--n_epochs", "1")
    assert log(tmp_path, "run") == log(tmp_path, "one")


def test_a_killed_process_ends_the_training_and_leaves_its_checkpoint(tmp_path: Path):
    argv = ["--name", "killed", "--n_epochs", "100000", "--world_size", "2"]
    process = subprocess.Popen(
        [sys.executable, *COMMAND, *argv, "--save_latest_freq", "1"],
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    latest = tmp_path / "checkpoints" / "killed" / "epoch_latest.pth"
    end = time.monotonic() + 100
    while not latest.exists():
        assert process.poll() is None and time.monotonic() < end
        time.sleep(0.05)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text("utf-8").split()
    os.kill(int(children[1]), signal.SIGKILL)
    killed = time.monotonic()
    _, errors = process.communicate(timeout=60)
    assert time.monotonic() - killed < 20
    assert process.returncode == 137
    assert "process 1 of 2 was ended by signal 9" in errors and "--continue_train" in errors
    assert not any(Path(f"/proc/{child}").exists() for child in children)
    load_checkpoint(latest, ("net_colour",))
    assert not list(latest.parent.glob("epoch_.*.part"))


@pytest.mark.slow  # starts three interpreters
def test_a_bad_flag_is_named_once(tmp_path: Path):
    command = [sys.executable, *COMMAND, "--world_size", "2", "--batch_size", "1"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=100)
    assert result.returncode == 2
    assert result.stderr.count("error:") == 1
    assert "--batch_size 1 with 12 faces: each of 2 processes needs a face" in result.stderr
