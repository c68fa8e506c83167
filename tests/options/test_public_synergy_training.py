"""Public training commands of the SynergyNet projects as ours, and the recipes they begin with."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from options import ParsedOptions, parse_command
from options.base_options import BaseOptions
from options.data_options import DatatoolOptions, DdfaOptions
from options.network_options import OptimiserOptions, SynergyOptions
from options.public_synergy_training import BONSEYES, CONFIGS, SYNERGYNET, PublicTraining
from options.train_options import LoaderOptions, TrainOptions
from tests.commands import load_script, load_tool
from util.errors import InputError

ROOT = Path(__file__).resolve().parents[2]
train = load_script("train")


def parse(project: PublicTraining, *typed: str) -> ParsedOptions:
    return parse_command(train.option_groups, project.argv(typed))


def test_the_public_recipe():
    """Wu et al.'s train_script.sh, and the weights in their code."""
    options = parse(SYNERGYNET)
    o, s = options[OptimiserOptions], options[SynergyOptions]
    assert (o.optimizer, o.lr, o.momentum, o.weight_decay) == ("sgd", 0.08, 0.9, 5e-4)
    assert (o.lr_policy, o.milestones, o.warmup, o.n_epochs) == ("milestones", (48, 64), 5, 80)
    assert options[LoaderOptions].batch_size == 1024
    weights = s.w_coarse, s.w_refined, s.w_param, s.w_reverse, s.w_consistency
    assert weights == (0.05, 0.05, 0.02, 0.02, 0.001)
    assert s.arch == "mobilenet_v2" and s.residual_scale == 0.05 and not s.public
    assert options[TrainOptions].dataset_mode == "ddfa" and options[TrainOptions].keep_best


def test_the_forks_recipe():
    options = parse(BONSEYES)
    o, s = options[OptimiserOptions], options[SynergyOptions]
    assert (o.lr, o.milestones, o.warmup, o.n_epochs) == (1e-4, (15, 25, 30), -1, 40)
    weights = s.w_coarse, s.w_refined, s.w_param, s.w_reverse, s.w_consistency
    assert weights == (0.05, 0.05, 2, 2, 2) and s.residual_scale == 1
    assert options[LoaderOptions].batch_size == 128
    assert options[DatatoolOptions].train_tags == "HELEN, HELEN_Flip, LFPW, LFPW_Flip"
    assert options[BaseOptions].checkpoints_dir == "ckpts"


def test_flags_as_synergynets_users_write_them():
    text = "--root crops -j 2 --filelists-train=a.list --param-fp-train b.pkl -b 64 --epochs 3 "
    text += "--base-lr 0.01 --milestones 4,6 --warmup -1 --arch resnet50 --wd 1e-3 --snapshot x "
    options = parse(SYNERGYNET, *text.split(), "--val_share", "0.1")
    d, o, loader = options[DdfaOptions], options[OptimiserOptions], options[LoaderOptions]
    assert (d.ddfa_images, d.ddfa_list, d.ddfa_params) == ("crops", "a.list", "b.pkl")
    assert (loader.num_threads, loader.batch_size) == (2, 64) and d.val_share == 0.1
    assert (o.n_epochs, o.lr, o.milestones, o.warmup) == (3, 0.01, (4, 6), -1)
    assert o.weight_decay == 1e-3 and options[SynergyOptions].arch == "resnet50"
    assert options[BaseOptions].name == "x"


def test_flags_as_the_forks_users_write_them():
    typed = ["--datatool-root-dir", "out", "--train-tags", "AFW, IBUG", "--val-tags", "HELEN"]
    typed += ["--exp-name", "mine", "--debug", "true", "--use-cuda", "false", "--save-val-freq=2"]
    options = parse(BONSEYES, *typed, "-vb", "8", "--batch-size", "4")
    d = options[DatatoolOptions]
    assert (d.datatool_root_dir, d.train_tags, d.val_tags) == ("out", "AFW, IBUG", "HELEN")
    assert not options[SynergyOptions].use_rot_inv
    rotated = parse(BONSEYES, "--use-rot-inv", "true")
    assert rotated[SynergyOptions].use_rot_inv
    assert d.debug and options[BaseOptions].name == "mine"
    assert options[BaseOptions].gpu_ids == "-1" and options[TrainOptions].save_epoch_freq == 2
    assert options[LoaderOptions].batch_size_val == 8


def test_what_means_nothing_here_says_so(capsys: pytest.CaptureFixture[str]):
    argv = BONSEYES.argv(["--img_size", "450", "--crop-images", "false", "--resume", ""])
    assert argv == ["--config", str(CONFIGS / "bonseyes.yaml")]
    shown = capsys.readouterr().out
    assert "--img_size has no effect: the data say" in shown and shown.count("\n") == 2


def test_a_resume_by_file_is_refused():
    with pytest.raises(InputError, match=r"--resume a\.pth: a run goes on by --continue_train"):
        SYNERGYNET.argv(["--resume", "a.pth"])


@pytest.mark.parametrize("name", sorted(path.name for path in CONFIGS.glob("*.yaml")))
def test_every_recipe_is_read(name: str):
    options = parse_command(train.option_groups, ["--config", str(CONFIGS / name)])
    assert options[BaseOptions].model == "synergy"


def test_a_command_starts_anywhere_and_says_what_is_missing(tmp_path: Path):
    argv = [str(ROOT / "tools" / "facereconstruction" / "train.py")]
    argv += ["-opt", str(CONFIGS / "synergynet.yaml")]
    done = subprocess.run(
        [sys.executable, *argv], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2, done.stderr
    assert "3dmm_data does not exist" in done.stderr


@pytest.mark.parametrize("folder", ["synergynet", "synergynet_bonseyes"])
def test_commands_say_what_is_missing(folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"3dmm_data does not exist|datatool"):
        load_tool(folder, "main_train").main([])
