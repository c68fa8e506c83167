"""The run's folder, and numbers that no run could use."""

from __future__ import annotations

from pathlib import Path

import pytest

from options import parse_command
from options.base_options import BaseOptions, DistributedOptions, run_folder
from options.test_options import TestOptions
from options.train_options import LoaderOptions, TrainOptions
from util.errors import InputError


def folder(*argv: str) -> Path:
    return run_folder(parse_command([BaseOptions, LoaderOptions], argv))


def test_the_folder_is_the_name_below_checkpoints_dir():
    assert folder() == Path("checkpoints") / "face_recon"
    assert folder("--name", "é x", "--checkpoints_dir", "a/b") == Path("a/b/é x")


def test_the_suffix_is_filled_from_the_flags():
    assert folder("--name", "a", "--suffix", "{model}_b{batch_size}").name == "a_facerecon_b32"
    assert folder("--name", "a", "--suffix", "plain").name == "a_plain"


@pytest.mark.parametrize("suffix", ["{nothing}", "{}", "{model", "model}", "{0}", "{model.x}"])
def test_a_bad_suffix_is_an_input_error(suffix: str):
    with pytest.raises(InputError, match="--suffix"):
        folder("--suffix", suffix)


@pytest.mark.parametrize("name", ["", "  "])
def test_an_empty_name_is_an_input_error(name: str):
    with pytest.raises(InputError, match="--name is empty"):
        folder("--name", name)


@pytest.mark.parametrize(
    ("group", "flag", "value"),
    [
        (BaseOptions, "num_cpu_threads", "-1"),
        (TestOptions, "test_batch_size", "0"),
        (LoaderOptions, "batch_size", "0"),
        (LoaderOptions, "batch_size_val", "-2"),
        (LoaderOptions, "num_threads", "-1"),
        (LoaderOptions, "max_dataset_size", "0"),
        (LoaderOptions, "max_dataset_size", "nan"),
        (TrainOptions, "max_bad_steps", "0"),
        (TrainOptions, "print_freq", "0"),
        (TrainOptions, "display_freq", "-5"),
        (TrainOptions, "save_latest_freq", "0"),
        (TrainOptions, "save_epoch_freq", "0"),
        (TrainOptions, "evaluation_freq", "0"),
        (TrainOptions, "max_minutes", "-1"),
    ],
)
def test_useless_numbers_are_refused_by_flag(group: type, flag: str, value: str):
    with pytest.raises(InputError, match=rf"--{flag} is {value}"):
        parse_command([group], [f"--{flag}", value])


def test_public_defaults():
    """Flags and defaults that users of the public code know."""
    train = parse_command([TrainOptions], [])[TrainOptions]
    assert (train.save_latest_freq, train.evaluation_freq) == (5000, 5000)
    assert (train.print_freq, train.display_freq, train.save_epoch_freq) == (100, 1000, 1)
    loader = parse_command([LoaderOptions], [])[LoaderOptions]
    assert (loader.batch_size, loader.batch_size_val, loader.num_threads) == (32, 32, 4)
    assert loader.max_dataset_size == float("inf") and loader.serial_batches is False
    base = parse_command([BaseOptions], [])[BaseOptions]
    assert (base.name, base.gpu_ids, base.model, base.epoch) == (
        "face_recon",
        "0",
        "facerecon",
        "latest",
    )


@pytest.mark.parametrize(
    ("argv", "named"),
    [
        (["--ddp_port", "here"], "--ddp_port is here"),
        (["--ddp_port", "70000"], "--ddp_port is 70000"),
        (["--world_size", "0"], "--world_size is 0"),
    ],
)
def test_ports_and_numbers_of_processes(argv: list[str], named: str):
    with pytest.raises(InputError, match=named):
        parse_command([DistributedOptions], argv)
