"""Choose the device of a run from `--gpu_ids`, and say what was chosen."""

from __future__ import annotations

import torch

from util.cores import usable_cores
from util.errors import InputError


def parse_gpu_ids(gpu_ids: str) -> tuple[int, ...]:
    """Numbers in `--gpu_ids`; empty for -1.

    Raises:
        InputError: not a list of numbers.
    """
    try:
        numbers = tuple(int(part) for part in gpu_ids.replace(" ", "").split(",") if part)
    except ValueError:
        raise InputError(
            f"--gpu_ids {gpu_ids} is no list of GPU numbers; write 0, or 0,1, or -1 for the CPU"
        ) from None
    if not numbers:
        raise InputError("--gpu_ids is empty; write 0, or 0,1, or -1 for the CPU")
    return tuple(number for number in numbers if number >= 0)


def choose_device(gpu_ids: str, threads: int = 0) -> torch.device:
    """The device to compute on.

    Args:
        gpu_ids: value of the flag. "0", the default, means "the GPU, where there is one"; any
            other GPU that is missing is an error.
        threads: CPU threads; 0 takes all cores this process may use.

    Raises:
        InputError: a GPU was asked for that is not there.
    """
    torch.set_num_threads(threads or usable_cores())
    numbers = parse_gpu_ids(gpu_ids)
    if len(numbers) == 0:
        return torch.device("cpu")
    available = torch.cuda.device_count() if torch.cuda.is_available() else 0
    missing = [number for number in numbers if number >= available]
    if not missing:
        if len(numbers) > 1:
            print(f"Only GPU {numbers[0]} is used: this version trains in one process.")
        return torch.device("cuda", numbers[0])
    if numbers != (0,):
        raise InputError(
            f"--gpu_ids {gpu_ids}: this machine has {available or 'no'} usable GPU"
            f"{'s' if available != 1 else ''}; choose among them, or -1 for the CPU"
        )
    print("No GPU found: computing on the CPU.")
    return torch.device("cpu")
