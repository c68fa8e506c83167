"""Options that every command of the trainer shares."""

from __future__ import annotations

import string
from dataclasses import dataclass
from pathlib import Path

from options.flags import ParsedOptions
from util.errors import InputError


@dataclass(frozen=True)
class BaseOptions:
    """The run: its name, its place, its devices."""

    name: str = "face_recon"
    """Name of the run; its checkpoints and logs go to checkpoints_dir/name."""
    gpu_ids: str = "0"
    """GPUs, such as 0 or 0,1 (training: one process each); -1 is the CPU, which is also taken where
    there is no GPU."""
    checkpoints_dir: str = "./checkpoints"
    """Folder of all runs."""
    model: str = "facerecon"
    """Model class, a key of models.MODELS."""
    epoch: str = "latest"
    """Checkpoint to load: latest, or a number such as 20."""
    verbose: bool = False
    """Print all options."""
    suffix: str = ""
    """Appended to the name; {model} and other flags in braces are filled in."""
    seed: int = 0
    """Seed of every random number of the run."""
    num_cpu_threads: int = 0
    """Threads for computing on the CPU, in each process; 0 takes all cores."""

    def __post_init__(self) -> None:
        """Refuse numbers that no run could use."""
        parse_gpu_ids(self.gpu_ids)
        if self.num_cpu_threads < 0:
            raise InputError(
                f"--num_cpu_threads is {self.num_cpu_threads}; it must be 0 (all cores) or more"
            )


@dataclass(frozen=True)
class DisplayOptions:
    """How much is drawn and validated."""

    vis_batch_nums: float = 1
    """Batches drawn into TensorBoard at each validation."""
    eval_batch_nums: float = float("inf")
    """Batches used by a validation."""
    display_per_batch: bool = True
    """Count print_freq, display_freq, evaluation_freq and save_latest_freq in batches and draw a
    batch as one picture; False counts faces and draws each."""
    add_image: bool = True
    """Write pictures into TensorBoard."""


@dataclass(frozen=True)
class DistributedOptions:
    """Training in several processes, which a torchrun around the command starts as well."""

    use_ddp: bool = True
    """Start one process for each GPU of gpu_ids; False trains in one, on the first of them."""
    ddp_port: str = "12355"
    """Port through which the processes find each other; any free one unless it is given."""
    world_size: int = 1
    """Processes on the CPU; on GPUs gpu_ids says how many, under torchrun its own flags."""

    def __post_init__(self) -> None:
        """Refuse what is no port and no number of processes."""
        if not self.ddp_port.isdecimal() or not 0 < int(self.ddp_port) < 65536:
            raise InputError(f"--ddp_port is {self.ddp_port}; it must be a number below 65536")
        if self.world_size < 1:
            raise InputError(f"--world_size is {self.world_size}; it must be at least 1")


def parse_gpu_ids(gpu_ids: str) -> tuple[int, ...]:
    """Numbers in `--gpu_ids`; empty for -1.

    Raises:
        InputError: not a list of numbers, or one of them twice.
    """
    try:
        numbers = tuple(int(part) for part in gpu_ids.replace(" ", "").split(",") if part)
    except ValueError:
        raise InputError(
            f"--gpu_ids {gpu_ids} is no list of GPU numbers; write 0, or 0,1, or -1 for the CPU"
        ) from None
    if not numbers:
        raise InputError("--gpu_ids is empty; write 0, or 0,1, or -1 for the CPU")
    if len(set(numbers)) < len(numbers):
        raise InputError(
            f"--gpu_ids {gpu_ids} names a GPU twice; each process needs one of its own: write each "
            "number once"
        )
    return tuple(number for number in numbers if number >= 0)


def run_folder(options: ParsedOptions) -> Path:
    """checkpoints_dir/name of a run, its suffix filled in.

    Raises:
        InputError: an empty name, or braces in the suffix that name no flag.
    """
    base = options[BaseOptions]
    if not base.name.strip():
        raise InputError("--name is empty; give the run a name such as --name my_faces")
    suffix = base.suffix
    if suffix:
        flat = options.flat()
        try:
            parts = list(string.Formatter().parse(suffix))
            wanted = {field for _, field, _, _ in parts if field is not None}
            if unknown := wanted - flat.keys():
                raise InputError(
                    f"--suffix {suffix}: {{{sorted(unknown)[0]}}} is no flag of this command"
                )
            suffix = "_" + suffix.format(**flat)
        except InputError:
            raise
        except ValueError as error:
            raise InputError(
                f"--suffix {suffix}: {error}; write flags in braces, such as {{model}}"
            ) from error
    return Path(base.checkpoints_dir) / f"{base.name}{suffix}"
