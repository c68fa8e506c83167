"""Choose the device of a run from `--gpu_ids`, and say what was chosen."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from models.renderer import Renderer, resolve_backend
from options.base_options import parse_gpu_ids
from options.face_options import RenderOptions
from util.cores import usable_cores
from util.errors import InputError


def present_gpus(gpu_ids: str) -> tuple[int, ...]:
    """The GPUs that `--gpu_ids` means on this machine; empty for the CPU.

    Raises:
        InputError: a GPU was asked for that is not there. "0", the default, means "the GPU, where
            there is one".
    """
    numbers = parse_gpu_ids(gpu_ids)
    available = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if all(number < available for number in numbers):
        return numbers
    if numbers == (0,):
        return ()
    raise InputError(
        f"--gpu_ids {gpu_ids}: this machine has {available or 'no'} usable GPU"
        f"{'s' if available != 1 else ''}; choose among them, or -1 for the CPU"
    )


def chosen_renderer(options: RenderOptions, device: torch.device) -> Renderer:
    """The renderer of `--renderer`; one that is named has been tried on the device.

    `auto` takes what draws there, when it first does: a video's main process draws on no GPU.

    Raises:
        InputError: it does not draw there.
    """
    try:
        if options.renderer != "auto":
            resolve_backend(options.renderer, device)
    except ValueError as error:
        raise InputError(str(error)) from error
    return Renderer(options.renderer)


def choose_device(
    gpu_ids: str, threads: int = 0, local_rank: int = 0, local_size: int = 1
) -> torch.device:
    """Make torch ready to compute on the device of `find_device`, and say where it may surprise.

    Sets for the whole process how many threads compute, and that float32 products are exact.

    Args:
        gpu_ids: see `find_device`.
        threads: CPU threads; 0 takes all cores this process may use.
        local_rank: see `find_device`.
        local_size: see `find_device`; these processes share the cores.

    Returns:
        The device.

    Raises:
        InputError: see `find_device`.
    """
    device, notice = find_device(gpu_ids, local_rank, local_size)
    torch.set_num_threads(threads or max(1, usable_cores() // local_size))
    # Matrix products in full float32, whatever the environment says (containers switch TF32 on by
    # a variable): its 10-bit mantissa moves vertices by a tenth of a pixel. What stays allowed,
    # torch's default, are TF32 convolutions, and only the networks convolve.
    torch.set_float32_matmul_precision("highest")
    if notice:
        print(f"{notice[0].upper()}{notice[1:]}.")
    return device


def find_device(gpu_ids: str, local_rank: int = 0, local_size: int = 1) -> tuple[torch.device, str]:
    """The device that `--gpu_ids` means; changes nothing.

    Args:
        gpu_ids: value of the flag. "0", the default, means "the GPU, where there is one"; any
            other GPU that is missing is an error.
        local_rank: number of this process among those of a training on this machine; each has a
            GPU of its own.
        local_size: how many those are.

    Returns:
        The device; and a clause of it where it may not be the expected one, else an empty text.

    Raises:
        InputError: a GPU was asked for that is not there, or there are fewer than processes.
    """
    numbers = present_gpus(gpu_ids)
    if local_size > 1 and numbers == (0,):  # the default: under torchrun, one GPU a process
        numbers = tuple(range(torch.cuda.device_count()))
    if not numbers:
        surprises = parse_gpu_ids(gpu_ids) and local_rank == 0
        return torch.device("cpu"), "no GPU found: computing on the CPU" if surprises else ""
    if local_size > len(numbers):
        raise InputError(
            f"--gpu_ids {gpu_ids}: {local_size} processes on this machine need a GPU each, there "
            f"are {len(numbers)}; start fewer, or give -1 for the CPU"
        )
    notice = ""
    if local_size == 1 and len(numbers) > 1:
        notice = f"only GPU {numbers[0]} is used: one process computes"
    return torch.device("cuda", numbers[local_rank]), notice


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute on one thread in this block: more can round sums otherwise."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
