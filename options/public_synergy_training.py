"""Command lines of the public SynergyNet projects as those of `train.py`.

The public flags are written with dashes or short, some by other names than ours; what is none of
them is a flag of ours, and passes through. docs/synergynet.md lists them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from util.errors import InputError

CONFIGS = Path(__file__).resolve().parent.parent / "configs" / "synergy_net"

_TRAINER = {
    **dict.fromkeys(("j", "workers"), "num_threads"),
    **dict.fromkeys(("b", "batch_size"), "batch_size"),
    **dict.fromkeys(("vb", "val_batch_size"), "batch_size_val"),
    **dict.fromkeys(("base_lr", "learning_rate"), "lr"),
    **dict.fromkeys(("weight_decay", "wd"), "weight_decay"),
    **dict.fromkeys(("p", "print_freq"), "print_freq"),
    "epochs": "n_epochs",
    "start_epoch": "epoch_count",
    "devices_id": "gpu_ids",
    "save_val_freq": "save_epoch_freq",
}
_LOG = "loss_log.txt in the run's folder has the losses"
_IDLE = {
    "log_file": _LOG,
    "log_mode": _LOG,
    "img_size": "the data say how large their pictures are",
    "size_average": "losses are means",
    "num_classes": "the layout of the labels says it",
    "task": "the public code has one",
    "test_initial": "evaluate.py evaluates",
    "opt_style": "the public code has one",
    "resume_pose": "the public code does not read it",
}


@dataclass(frozen=True)
class PublicTraining:
    """How one project's training command reads as ours."""

    recipe: Path
    """Config file with what it does by default."""
    renamed: Mapping[str, str] = field(default_factory=dict)
    """Its flags by our names for them, beside the common ones; with underscores for dashes."""
    idle: Mapping[str, str] = field(default_factory=dict)
    """Its flags without effect here, beside the common ones, each with the reason."""

    def argv(self, typed: Sequence[str]) -> list[str]:
        """The command line of `train.py`.

        Raises:
            InputError: a flag that would have to mean something else here.
        """
        renamed, idle = {**_TRAINER, **self.renamed}, {**_IDLE, **self.idle}
        ours = ["--config", str(self.recipe)]
        tokens, position = list(typed), 0
        while position < len(tokens):
            flag, equals, value = tokens[position].partition("=")
            position += 1
            if not flag.startswith("-"):
                ours.append(flag + equals + value)
                continue
            values = [value] if equals else []
            while not equals and position < len(tokens) and not _is_flag(tokens[position]):
                values.append(tokens[position])
                position += 1
            name = flag.lstrip("-").replace("-", "_")
            if name in idle:
                print(f"{flag} has no effect: {idle[name]}")
            else:
                ours += _flag(name, renamed.get(name, name), values)
        return ours


SYNERGYNET = PublicTraining(
    CONFIGS / "synergynet.yaml",
    renamed={
        "root": "ddfa_images",
        "filelists_train": "ddfa_list",
        "param_fp_train": "ddfa_params",
        "snapshot": "name",
    },
    idle=dict.fromkeys(
        ("filelists_val", "param_fp_val"), "photos for validation are kept back, by --val_share"
    ),
)
"""main_train.py of choyingw/SynergyNet."""

BONSEYES = PublicTraining(
    CONFIGS / "bonseyes.yaml",
    renamed={"exp_name": "name", "ckp_dir": "checkpoints_dir"},
    idle={
        "num_lms": "the layout has 77 landmarks",
        "root": "--datatool-root-dir says where the data are",
        "crop_images": "pictures are taken whole, as by default there",
        "use_300wlp": "the annotations say what they have",
    },
)
"""main_train.py of the fork for the datatool."""


def _is_flag(token: str) -> bool:
    """Whether a token begins a flag; negative numbers do not."""
    return token.startswith("-") and not token.lstrip("-")[:1].isdecimal()


def _flag(public: str, name: str, values: list[str]) -> list[str]:
    if public == "resume":
        if values and values[0]:
            raise InputError(
                f"--resume {values[0]}: a run goes on by --continue_train, and begins with another "
                "run's weights by --pretrained_name; leave --resume out"
            )
        return []
    if public == "use_cuda":
        no = values and values[0].lower() in ("false", "f", "0", "no", "n")
        return ["--gpu_ids=-1"] if no else []
    if name == "milestones":
        return ["--milestones", *(part for value in values for part in value.split(",") if part)]
    if len(values) != 1:
        return [f"--{name}", *values]
    return [f"--{name}={values[0]}"]
