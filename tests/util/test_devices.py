"""--gpu_ids: what it means with and without GPUs."""

from __future__ import annotations

import pytest
import torch

from options.face_options import RenderOptions
from util.devices import choose_device, chosen_renderer, find_device, parse_gpu_ids
from util.errors import InputError


def with_gpus(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)


@pytest.mark.parametrize(
    ("text", "numbers"),
    [("0", (0,)), ("0,1", (0, 1)), ("0, 2", (0, 2)), ("-1", ()), ("3,", (3,)), (" 1 ", (1,))],
)
def test_lists_of_numbers(text: str, numbers: tuple[int, ...]):
    assert parse_gpu_ids(text) == numbers


@pytest.mark.parametrize("text", ["cuda", "0;1", "", ",", "0.5", "one"])
def test_anything_else_is_an_input_error(text: str):
    with pytest.raises(InputError, match="--gpu_ids"):
        parse_gpu_ids(text)


@pytest.mark.parametrize("text", ["0,0", "1, 0,1", "00,0"])
def test_a_gpu_is_named_once(text: str):
    with pytest.raises(InputError, match=rf"--gpu_ids {text} names a GPU twice"):
        parse_gpu_ids(text)


@pytest.mark.parametrize("count", [0, 2])
def test_minus_one_is_the_cpu(monkeypatch: pytest.MonkeyPatch, count: int):
    with_gpus(monkeypatch, count)
    assert choose_device("-1").type == "cpu"


def test_without_gpu_the_default_is_the_cpu_and_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    with_gpus(monkeypatch, 0)
    assert choose_device("0").type == "cpu"
    assert "CPU" in capsys.readouterr().out


@pytest.mark.parametrize("gpu_ids", ["7", "0,1", "1"])
def test_a_gpu_that_was_asked_for_and_is_missing(monkeypatch: pytest.MonkeyPatch, gpu_ids: str):
    with_gpus(monkeypatch, 0)
    with pytest.raises(InputError, match=rf"--gpu_ids {gpu_ids}: this machine has no usable GPUs"):
        choose_device(gpu_ids)


def test_a_number_beyond_the_last_gpu(monkeypatch: pytest.MonkeyPatch):
    with_gpus(monkeypatch, 1)
    with pytest.raises(InputError, match=r"--gpu_ids 7: this machine has 1 usable GPU;.*-1"):
        choose_device("7")
    with pytest.raises(InputError, match="0,1"):
        choose_device("0,1")


def test_the_first_listed_gpu_is_taken(monkeypatch: pytest.MonkeyPatch):
    with_gpus(monkeypatch, 3)
    assert choose_device("2,1") == torch.device("cuda", 2)
    assert choose_device("0") == torch.device("cuda", 0)


def test_the_number_of_threads():
    choose_device("-1", threads=1)
    assert torch.get_num_threads() == 1
    choose_device("-1")
    assert torch.get_num_threads() >= 1


def test_finding_changes_nothing():
    try:
        torch.set_float32_matmul_precision("high")
        choose_device("-1", threads=1)
        assert torch.get_float32_matmul_precision() == "highest"
        torch.set_float32_matmul_precision("high")
        assert find_device("-1") == (torch.device("cpu"), "")
        assert (torch.get_num_threads(), torch.get_float32_matmul_precision()) == (1, "high")
    finally:
        choose_device("-1")


def test_each_process_has_a_gpu_of_its_own(monkeypatch: pytest.MonkeyPatch):
    with_gpus(monkeypatch, 3)
    assert choose_device("2,1", local_rank=1, local_size=2) == torch.device("cuda", 1)
    # The default under torchrun: the GPU of the process's number.
    assert choose_device("0", local_rank=2, local_size=3) == torch.device("cuda", 2)
    with pytest.raises(InputError, match=r"--gpu_ids 0,1: 3 processes on this machine.*are 2"):
        choose_device("0,1", local_rank=2, local_size=3)
    with pytest.raises(InputError, match=r"4 processes on this machine.*are 3"):
        choose_device("0", local_rank=0, local_size=4)


def test_processes_on_one_machine_share_its_cores(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("util.devices.usable_cores", lambda: 6)
    choose_device("-1", local_rank=1, local_size=2)
    assert torch.get_num_threads() == 3
    choose_device("-1", threads=2, local_rank=1, local_size=2)
    assert torch.get_num_threads() == 2


def test_a_renderer_that_cannot_draw_there_is_refused():
    cpu, gpu = torch.device("cpu"), torch.device("cuda")
    assert chosen_renderer(RenderOptions("torch"), cpu).backend == "torch"
    with pytest.raises(InputError, match="--renderer nvdiffrast needs a CUDA device"):
        chosen_renderer(RenderOptions("nvdiffrast"), cpu)
    with pytest.raises(InputError, match="--renderer numba runs on the CPU"):
        chosen_renderer(RenderOptions("numba"), gpu)
