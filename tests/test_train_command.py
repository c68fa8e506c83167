"""`train.py` from the outside: a run's files, resuming, and bad input."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from data.prepared_files import PhotoFiles
from data.tar_shards import pack_photos
from models.face_model import FaceModel
from models.networks.reconstruction import RECONSTRUCTION_NETS
from tests.commands import load_script
from tests.prepared_photos import make_photos
from tests.tiny_net import TinyBackbone
from tests.util.reports.page_elements import Page
from util import devices
from util.errors import InputError
from util.training import launch
from util.training.checkpoint import load_checkpoint
from util.training.checkpoint_names import list_checkpoints
from util.training.loop import Training

ROOT = Path(__file__).resolve().parents[1]
TEMPLATE = ["--model", "template", "--dataset_mode", "template", "--num_discs", "8"]
SMALL = ["--gpu_ids", "-1", "--num_threads", "0", "--num_cpu_threads", "1", "--disc_size_px", "16"]


train = load_script("train")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Run in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run_template(*argv: str) -> Path:
    """Eight discs in batches of four: two steps an epoch."""
    train.main([*TEMPLATE, *SMALL, "--batch_size", "4", "--name", "a", *argv])
    return Path("checkpoints") / "a"


def test_a_run_leaves_its_files():
    run = run_template("--n_epochs", "2", "--print_freq", "1")
    assert list_checkpoints(run) == ["1", "2", "latest"]
    assert "model: template" in (run / "options.yaml").read_text(encoding="utf-8")
    assert "git_commit" in (run / "train_opt.txt").read_text(encoding="utf-8")
    log = (run / "loss_log.txt").read_text(encoding="utf-8")
    assert log.count("(train, ") == 4 and log.count("(val, ") == 2
    assert any((run / "logs").iterdir())
    assert not list(run.glob(".*"))


def test_the_last_lines_say_where_everything_lies(capsys: pytest.CaptureFixture[str]):
    run = run_template("--n_epochs", "1", "--keep_best")
    *_, checkpoint, report, board = capsys.readouterr().out.splitlines()
    assert str(run / "epoch_latest.pth") in checkpoint and str(run / "epoch_best.pth") in checkpoint
    assert report.endswith(str(run / "report.html")) and (run / "report.html").is_file()
    assert board == f"TensorBoard: tensorboard --logdir {run / 'logs'}" and (run / "logs").is_dir()
    run_template("--n_epochs", "2", "--continue_train", "--report", "False")
    said = capsys.readouterr().out
    assert "Report" not in said.rpartition("Checkpoint:")[2], "no page of an earlier state"


def report_of(run: Path) -> dict[str, Any]:
    """What the script of a run's page reads."""
    return json.loads(Page((run / "report.html").read_text(encoding="utf-8")).scripts[0])


def test_a_run_has_a_page_of_its_whole_history():
    """After a resume too; a run that replaces it begins anew."""
    run = run_template("--n_epochs", "2", "--print_freq", "1", "--lr", "0.05")
    text = (run / "report.html").read_text(encoding="utf-8")
    assert "finished" in text and "--lr</th><td>0.05 (default" in text
    first = report_of(run)
    assert first["train"]["steps"] == [1, 2, 3, 4] and first["val"]["steps"] == [2, 4]
    assert first["epoch_numbers"] == [1, 2]
    assert [(p["step"], p["epoch"]) for p in first["pictures"]] == [(2, 1), (4, 2)]
    run_template("--n_epochs", "3", "--print_freq", "1", "--continue_train")
    second = report_of(run)
    assert second["train"]["steps"] == [1, 2, 3, 4, 5, 6] and second["epoch_numbers"] == [1, 2, 3]
    old, new = (each["train"]["losses"]["all"] for each in (first, second))
    assert new[:4] == pytest.approx(old, rel=1e-2)
    assert [picture["step"] for picture in second["pictures"]] == [2, 4, 6]
    run_template("--n_epochs", "1", "--overwrite", "--report", "False")
    assert not (run / "report.html").exists()


def test_a_page_that_cannot_be_written_ends_no_training():
    blocked = Path("checkpoints") / "a" / "report.html"
    blocked.mkdir(parents=True)
    run = run_template("--n_epochs", "2")
    assert list_checkpoints(run) == ["1", "2", "latest"]
    log = (run / "loss_log.txt").read_text(encoding="utf-8")
    assert log.count("no report.html from now on") == 1


def test_a_stopped_run_says_why_on_its_page(monkeypatch: pytest.MonkeyPatch):
    def broken(*_: object) -> None:
        raise InputError("the <disk> is away")

    monkeypatch.setattr(Training, "_watch", broken)
    with pytest.raises(InputError):
        run_template("--n_epochs", "1")
    text = Path("checkpoints/a/report.html").read_text(encoding="utf-8")
    assert "Stopped: the &lt;disk&gt; is away" in text


def test_a_run_repeats_from_its_saved_options():
    first = run_template("--n_epochs", "1", "--lr", "0.05", "--seed", "7")
    state = load_checkpoint(first / "epoch_1.pth", ("net_colour",))["net_colour"]
    train.main(["--config", str(first / "options.yaml"), "--name", "b"])
    again = load_checkpoint(Path("checkpoints/b/epoch_1.pth"), ("net_colour",))["net_colour"]
    assert torch.equal(state["colour"], again["colour"])


def test_resuming_equals_one_run():
    train.main([*TEMPLATE, *SMALL, "--batch_size", "4", "--name", "whole", "--n_epochs", "3"])
    run = run_template("--n_epochs", "1")
    run_template("--n_epochs", "3", "--continue_train")
    assert list_checkpoints(run) == ["1", "2", "3", "latest"]
    states = [
        load_checkpoint(Path("checkpoints") / name / "epoch_3.pth", ("net_colour",))
        for name in ("whole", "a")
    ]
    assert torch.equal(states[0]["net_colour"]["colour"], states[1]["net_colour"]["colour"])
    assert states[0]["progress"]["step"] == states[1]["progress"]["step"] == 6


@pytest.mark.parametrize(("stopped", "left"), [(6, 2), (4, 4), (8, 0)])
def test_an_interrupted_epoch_goes_on_where_it_stopped(
    stopped: int, left: int, monkeypatch: pytest.MonkeyPatch
):
    """The rest of epoch 2 sees the batches that it would have seen; an epoch's end comes once."""
    argv = ["--n_epochs", "2", "--lr", "0.1"]
    train.main([*TEMPLATE, *SMALL, "--batch_size", "2", "--name", "whole", *argv])
    step = Training.step

    def interrupted(self: Training, *arguments: Any) -> None:
        step(self, *arguments)
        if self.progress.step == stopped:
            raise KeyboardInterrupt

    parts = [*TEMPLATE, *SMALL, "--batch_size", "2", "--name", "parts", *argv]
    monkeypatch.setattr(Training, "step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train.main([*parts, "--save_latest_freq", "1"])
    monkeypatch.setattr(Training, "step", step)
    seen: list[tuple[str, ...]] = []
    monkeypatch.setattr(Training, "_watch", lambda self, good, paths: seen.append(tuple(paths)))
    train.main([*parts, "--continue_train"])
    assert len(seen) == left
    states = [
        load_checkpoint(Path("checkpoints") / name / "epoch_2.pth", ("net_colour",))
        for name in ("whole", "parts")
    ]
    assert torch.equal(states[0]["net_colour"]["colour"], states[1]["net_colour"]["colour"])
    assert states[0]["sched_00"] == states[1]["sched_00"]
    assert states[1]["progress"]["step"] == 8


def test_another_order_is_noticed_on_resuming(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """In the midst of an epoch it would leave out other faces; at its end it is one line."""
    step = Training.step

    def interrupted(self: Training, *arguments: Any) -> None:
        step(self, *arguments)
        if self.progress.step == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(Training, "step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_template("--n_epochs", "3", "--save_latest_freq", "1")
    monkeypatch.setattr(Training, "step", step)
    for argv, named in (
        (["--batch_size", "2"], r"--batch_size is 2 \(was 4\).*epoch 2.*give --batch_size 4"),
        (["--seed", "7"], r"--seed is 7 \(was 0\).*give --seed 0"),
        (["--serial_batches"], r"--serial_batches is True \(was False\)"),
        (["--num_discs", "12"], r"the number of faces is 12 \(was 8\).*take the list"),
    ):
        with pytest.raises(InputError, match=named):
            run_template("--n_epochs", "3", "--continue_train", *argv)
    capsys.readouterr()
    run = run_template("--n_epochs", "2", "--continue_train", "--epoch", "1", "--batch_size", "2")
    shown = capsys.readouterr().out
    assert shown.count("Resumed with other settings: --batch_size is 2 (was 4)\n") == 1
    order = load_checkpoint(run / "epoch_2.pth", ("net_colour",))["progress"]["order"]
    assert order["batch_size"] == 2
    run_template("--n_epochs", "3", "--continue_train", "--batch_size", "2")
    assert "other settings" not in capsys.readouterr().out


def test_weights_of_another_run_start_a_new_one(capsys: pytest.CaptureFixture[str]):
    run_template("--n_epochs", "2", "--lr", "0.1")
    train.main([*TEMPLATE, *SMALL, "--name", "b", "--pretrained_name", "a", "--n_epochs", "1"])
    assert "Weights from" in capsys.readouterr().out
    progress = load_checkpoint(Path("checkpoints/b/epoch_1.pth"), ("net_colour",))["progress"]
    assert progress["step"] == 1


def test_an_earlier_run_is_protected():
    folder = run_template("--n_epochs", "2")
    first = (folder / "epoch_2.pth").read_bytes()
    with pytest.raises(InputError, match=r"holds a run already \(epoch 1, 2, latest\)"):
        run_template("--n_epochs", "1")
    assert (folder / "epoch_2.pth").read_bytes() == first
    run_template("--n_epochs", "1", "--overwrite")
    assert list_checkpoints(folder) == ["1", "latest"]


def test_a_failed_start_replaces_nothing():
    folder = run_template("--n_epochs", "1")
    with pytest.raises(InputError, match="--pretrained_name nowhere"):
        run_template("--overwrite", "--pretrained_name", "nowhere")
    assert list_checkpoints(folder) == ["1", "latest"]


def test_resuming_says_where_and_when_nothing_is_left(capsys: pytest.CaptureFixture[str]):
    run_template("--n_epochs", "1")
    run_template("--n_epochs", "1", "--continue_train")
    shown = capsys.readouterr().out
    assert shown.count("faces to train on") == 1  # of the first run
    assert "epoch_latest.pth: finished, epoch 1 of 1 is done" in shown
    assert "to go on, raise --n_epochs above 1\n" in shown and "Resumed" not in shown


def test_settings_of_steps_that_a_resumed_run_keeps_are_named(capsys: pytest.CaptureFixture[str]):
    """Its schedule goes on from where it began, whatever is given now."""
    run_template("--n_epochs", "1", "--lr", "0.05", "--lr_policy", "linear")
    again = ("--continue_train", "--lr_policy", "linear")
    capsys.readouterr()
    run_template("--n_epochs", "2", "--lr", "0.05", *again)
    assert "no effect" not in capsys.readouterr().out
    run_template("--n_epochs", "3", "--lr", "0.02", "--weight_decay", "0.1", *again)
    shown = capsys.readouterr().out
    assert "--lr 0.02 has no effect: " in shown and "epoch_latest.pth goes on at its 0.05" in shown
    assert "--weight_decay 0.1 has no effect: " in shown and "goes on at its 0\n" in shown


def test_time_ends_a_run(capsys: pytest.CaptureFixture[str]):
    run = run_template(
        "--n_epochs", "100000", "--max_minutes", "0.02", "--save_epoch_freq", "10000"
    )
    epochs = list_checkpoints(run)
    assert "latest" in epochs and len(epochs) == 2
    assert load_checkpoint(run / "epoch_latest.pth", ("net_colour",))["progress"]["seconds"] >= 1.2
    capsys.readouterr()
    before = (run / "loss_log.txt").read_bytes()
    run_template("--n_epochs", "100000", "--max_minutes", "0.02", "--continue_train")
    shown = capsys.readouterr()
    assert shown.err == "" and len(shown.out.splitlines()) == 1
    assert "finished, it has had its 0.02 minutes; to go on, raise --max_minutes" in shown.out
    assert (run / "loss_log.txt").read_bytes() == before


@pytest.mark.parametrize(
    ("argv", "named"),
    [
        (["--model", "nothing"], "--model nothing"),
        (["--dataset_mode", "nothing"], "--dataset_mode nothing"),
        (["--no_such_flag", "1"], "--no_such_flag"),
        (["--gpu_ids", "777"], "--gpu_ids 777"),
        (["--name", ""], "--name is empty"),
        (["--lr", "0"], "--lr is 0"),
        (["--pretrained_name", "nobody"], "nobody"),
        (["--config", "missing.yaml"], r"missing\.yaml"),
    ],
)
def test_bad_input_is_named(argv: list[str], named: str):
    with pytest.raises(InputError, match=named):
        train.main([*TEMPLATE, *SMALL, *argv])


def test_without_a_run_continue_train_says_so_at_once(monkeypatch: pytest.MonkeyPatch):
    run_template("--n_epochs", "1")

    def late(*_: object) -> None:
        raise AssertionError("something was set up")

    monkeypatch.setattr(devices, "choose_device", late)
    monkeypatch.setattr(launch, "run_processes", late)
    for more in ([], ["--world_size", "2"]):
        argv = [*TEMPLATE, *SMALL, "--name", "b", "--continue_train", *more]
        with pytest.raises(
            InputError, match=r"--continue_train: checkpoints.b holds no run .*--name .*are a\)"
        ):
            train.main(argv)
    with pytest.raises(InputError, match=r"--epoch 7: .* the folder has --epoch 1, latest"):
        run_template("--continue_train", "--epoch", "7")


def test_a_failed_start_leaves_an_earlier_run_as_it_was():
    run = run_template("--n_epochs", "1")
    before = {path.name: path.read_bytes() for path in run.iterdir() if path.is_file()}
    for argv in (["--continue_train", "--epoch", "55"], ["--pretrained_name", "nobody"]):
        with pytest.raises(InputError):
            run_template("--n_epochs", "9", *argv)
    after = {path.name: path.read_bytes() for path in run.iterdir() if path.is_file()}
    assert after == before


FACES = ["--net_recon", "resnet18", "--w_feat", "0", "--renderer", "torch", "--batch_size", "2"]
RUN = ["--gpu_ids", "-1", "--num_threads", "0", "--num_cpu_threads", "1", "--name", "faces"]


def test_two_steps_of_the_real_training(folder: Path, open_face_model: FaceModel):
    flist = make_photos(folder / "größe x", open_face_model)
    lists = ["--flist", str(flist), "--flist_val", str(flist), "--data_root", str(folder)]
    train.main([*FACES, *RUN, *lists, "--n_epochs", "2", "--print_freq", "1"])
    run = folder / "checkpoints" / "faces"
    assert list_checkpoints(run) == ["1", "2", "latest"]
    first, second = (load_checkpoint(run / f"epoch_{k}.pth") for k in (1, 2))
    assert second["card"]["face_model"]["name"] == "open"
    key = "final_layers.0.weight"
    assert not torch.equal(first["net_recon"][key], second["net_recon"][key])
    log = (run / "loss_log.txt").read_text(encoding="utf-8")
    for term in ("all", "color", "lm", "reg", "gamma", "reflc"):
        assert f" {term}: " in log
    assert "nan" not in log


def test_compiling_is_said_once_or_refused_before_anything_is_written(
    folder: Path,
    open_face_model: FaceModel,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    flist = make_photos(folder / "photos", open_face_model)
    lists = ["--flist", str(flist), "--flist_val", str(flist), "--data_root", str(folder)]
    argv = [*FACES, *RUN, *lists, "--n_epochs", "2", "--compile"]
    monkeypatch.setattr(torch, "compile", lambda function: function)
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(InputError, match=r"--compile needs a C\+\+ compiler"):
        train.main(argv)
    assert not (folder / "checkpoints").exists()
    monkeypatch.setenv("CXX", sys.executable)  # a program, which is all that is looked for
    capsys.readouterr()
    train.main(argv)
    assert capsys.readouterr().out.count("Compiling the network (--compile)") == 1


def test_tar_shards_train_as_their_folder_does(folder: Path, open_face_model: FaceModel):
    pytest.importorskip("webdataset", reason="the extra webdataset")
    flist = make_photos(folder / "photos", open_face_model, count=4)
    photos = [PhotoFiles(folder / "photos" / f"photo {k}.png", f"photo {k}") for k in range(4)]
    pack_photos([photo.listed for photo in photos], folder / "tar", 2**20, None)
    lists = ["--flist", str(flist), "--flist_val", str(flist), "--data_root", str(folder)]
    tars = ["--dataset_mode", "webdataset", "--tar_shards", "tar", "--tar_shards_val", "tar/*.tar"]
    states = []
    for name, argv in (("folder", lists), ("tar", tars)):
        train.main([*FACES, *RUN, *argv, "--name", name, "--n_epochs", "1", "--num_threads", "1"])
        states.append(load_checkpoint(folder / "checkpoints" / name / "epoch_1.pth")["net_recon"])
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


def test_corrupt_and_removed_photos_are_replaced_and_named(
    folder: Path, open_face_model: FaceModel, capsys: pytest.CaptureFixture[str]
):
    flist = make_photos(folder / "photos", open_face_model, count=6)
    corrupt = folder / "photos" / "photo 1.png"
    corrupt.write_bytes(corrupt.read_bytes()[:2000])
    (folder / "photos" / "photo 4.png").unlink()
    lists = ["--flist", str(flist), "--flist_val", str(flist), "--data_root", str(folder)]
    train.main([*FACES, *RUN, *lists, "--n_epochs", "2", "--print_freq", "1"])
    shown = capsys.readouterr().out
    assert "1 of 6 images cannot be used" in shown
    # At the end too, each of the two lists' photos once.
    closing = next(line for line in shown.splitlines() if "that could not be used: " in line)
    assert closing.count("photo 1.png is damaged") == closing.count("has no photo for") == 1
    log = (folder / "checkpoints" / "faces" / "loss_log.txt").read_text(encoding="utf-8")
    assert log.count("(train, ") == 6
    for epoch in (1, 2):
        assert f"4 images of epoch {epoch} could not be used" in log  # two of either list
    # For training and for validation, not for each epoch.
    assert log.count("photo 1.png is damaged or incomplete") == 2
    assert "has no photo for" in log and "photo 4.png" in log
    with pytest.raises(InputError, match="--max_bad_images 0"):
        train.main([*FACES, *RUN, *lists, "--overwrite", "--max_bad_images", "0"])


@pytest.mark.parametrize(
    ("argv", "named"),
    [
        (["--flist", "nowhere.txt"], r"--flist nowhere\.txt"),
        (["--face_model", "nowhere.npz"], r"nowhere\.npz"),
        (["--net_recon", "dlib", "--use_last_fc"], "--use_last_fc"),
        (["--net_recog_path", "nowhere.pth", "--w_feat", "1"], r"nowhere\.pth"),
    ],
)
def test_bad_input_of_a_face_training_is_named(
    folder: Path, open_face_model: FaceModel, argv: list[str], named: str
):
    flist = make_photos(folder / "photos", open_face_model)
    lists = ["--flist", str(flist), "--flist_val", str(flist), "--data_root", str(folder)]
    with pytest.raises(InputError, match=named):
        train.main([*FACES, *RUN, *lists, *argv])


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("amp", ["none", "fp16"])
def test_a_training_on_a_gpu_goes_on_from_its_checkpoint(
    folder: Path, open_face_model: FaceModel, monkeypatch: pytest.MonkeyPatch, amp: str
):
    """With all that it has kept, though GPUs add up in an order that changes; then on the CPU."""
    monkeypatch.setitem(RECONSTRUCTION_NETS, "resnet18", TinyBackbone)
    make_photos(folder / "photos", open_face_model, 6)
    lists = ["--flist", "photos/masks.txt", "--flist_val", "photos/masks.txt", "--data_root", "."]
    net = ["--net_recon", "resnet18", "--w_feat", "0", "--face_model", "open", "--lr", "1e-4"]
    sizes = ["--batch_size", "2", "--batch_size_val", "4", "--num_threads", "0"]
    argv = [*lists, *net, *sizes, "--num_cpu_threads", "1", "--renderer", "torch"]
    on_gpu = [*argv, "--gpu_ids", "0", "--amp", amp]
    train.main([*on_gpu, "--name", "whole", "--n_epochs", "2"])
    train.main([*on_gpu, "--name", "parts", "--n_epochs", "1"])
    train.main([*on_gpu, "--name", "parts", "--n_epochs", "2", "--continue_train"])
    whole, parts = (
        load_checkpoint(Path("checkpoints") / name / "epoch_2.pth") for name in ("whole", "parts")
    )
    assert parts["progress"]["step"] == whole["progress"]["step"] == 6
    assert ("scaler" in parts) == (amp == "fp16") and parts.get("scaler") == whole.get("scaler")
    (there,), (here,) = whole["random"], parts["random"]
    assert torch.equal(here["cuda"], there["cuda"]) and torch.equal(here["torch"], there["torch"])
    for name, value in whole["net_recon"].items():
        assert value.device.type == "cpu"
        # Six steps of Adam move a weight by 6e-4 at most.
        torch.testing.assert_close(parts["net_recon"][name], value, rtol=1e-2, atol=2e-4, msg=name)
    moments, expected = parts["opt_00"]["state"], whole["opt_00"]["state"]
    assert moments.keys() == expected.keys()
    for number, state in expected.items():
        assert float(moments[number]["step"]) == float(state["step"])
        largest = float(state["exp_avg_sq"].max())
        torch.testing.assert_close(
            moments[number]["exp_avg_sq"], state["exp_avg_sq"], rtol=0.1, atol=0.05 * largest
        )
    on_cpu = [*argv, "--gpu_ids", "-1", "--amp", "none"]
    train.main([*on_cpu, "--name", "parts", "--n_epochs", "3", "--continue_train"])
    train.main([*on_gpu, "--name", "parts", "--n_epochs", "4", "--continue_train"])
    run = Path("checkpoints/parts")
    assert list_checkpoints(run) == ["1", "2", "3", "4", "latest"]
    last = load_checkpoint(run / "epoch_4.pth")["net_recon"]
    assert all(value.isfinite().all() for value in last.values())
