"""Learning-rate schedules: the published ones by epoch, and one by the share of time used."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim import lr_scheduler

from options.network_options import OptimiserOptions

# Clock policy: warm-up, then constant, then linear to zero. Of eight minutes the long descent, at
# half as high a rate again, left smaller errors than one over the last fifth.
WARM_UP_SHARE = 0.05
DECAY_FROM_SHARE = 0.4

_IMPLEMENTATION = {"foreach": None, "fused": None, "capturable": False, "differentiable": False}
"""Entries of a parameter group that say how a step is computed, not which; as torch chooses."""


def create_optimizer(groups: list[dict[str, Any]], options: OptimiserOptions):
    """The optimiser over parameter groups, each with its own `lr`."""
    settings: dict[str, Any] = {}
    if all(parameter.is_cuda for group in groups for parameter in group["params"]):
        settings["fused"] = True  # a few launches; on CPUs steps stay those of the public code
    if options.weight_decay is not None:
        settings["weight_decay"] = options.weight_decay
    if options.optimizer == "sgd":
        nesterov = options.momentum > 0
        return torch.optim.SGD(
            groups, lr=options.lr, momentum=options.momentum, nesterov=nesterov, **settings
        )
    kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[options.optimizer]
    return kind(groups, lr=options.lr, betas=(options.beta1, options.beta2), **settings)


def _kind(group: dict[str, Any]) -> set[str]:
    """By what a parameter group holds, which optimisers it may be of, as `--optimizer` names them.

    Before PyTorch 2.7 the groups of Adam and AdamW were alike.
    """
    if "betas" not in group:
        return {"sgd"}
    decoupled = group.get("decoupled_weight_decay")
    return {"adam", "adamw"} if decoupled is None else {"adamw" if decoupled else "adam"}


def optimizer_state(optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """What a checkpoint keeps of an optimiser, which any program may continue in its own way."""
    state = optimizer.state_dict()
    groups = [
        {key: _IMPLEMENTATION.get(key, value) for key, value in group.items()}
        for group in state["param_groups"]
    ]
    return {**state, "param_groups": groups}


def load_optimizer(optimizer: torch.optim.Optimizer, state: Any) -> None:
    """Continue an optimiser from its saved state, after checking that it is about these parameters.

    States know parameters by their number only, in the order of `net.parameters()`. PyTorch checks
    how many there are, not their shapes; and those before 1.5 wrote addresses in place of numbers,
    those before 1.12 the steps as integers, both of which it still reads.

    Raises:
        ValueError: malformed, or of an optimiser of another kind or over other parameters.
    """
    try:
        _check_state(optimizer, state)
        # How steps are computed is this program's choice, not the file's.
        defaults = optimizer.defaults
        chosen = {key: defaults[key] for key in _IMPLEMENTATION if key in defaults}
        groups = [{**group, **chosen} for group in state["param_groups"]]
        optimizer.load_state_dict({**state, "param_groups": groups})
    except KeyError as error:
        raise ValueError(f"its optimiser's state lacks {error}") from error
    except (TypeError, AttributeError) as error:
        raise ValueError(f"its optimiser's state is malformed ({error})") from error
    # Fused steps read moments in the order in which the parameter lies in memory.
    for parameter, entries in optimizer.state.items():
        for name, value in entries.items():
            if not isinstance(value, Tensor) or value.shape != parameter.shape:
                continue
            if value.stride() != parameter.stride():
                entries[name] = torch.empty_like(parameter).copy_(value)


def _check_state(optimizer: torch.optim.Optimizer, state: Any) -> None:
    """Refuse a state that is not about an optimiser's parameters, or of another kind.

    Raises:
        ValueError: it is not; the message says in what.
        KeyError, TypeError, AttributeError: it is malformed.
    """
    saved = [key for group in state["param_groups"] for key in group["params"]]
    known = [p for group in optimizer.param_groups for p in group["params"]]
    if len(saved) != len(known):
        raise ValueError(
            f"its optimiser has {len(saved)} parameters, that of this run {len(known)}"
        )
    theirs, own = _kind(state["param_groups"][0]), _kind(optimizer.param_groups[0])
    if not theirs & own:
        raise ValueError(
            f"its optimiser is {' or '.join(sorted(theirs))}, that of this run "
            f"{' or '.join(sorted(own))}; give the same --optimizer to go on"
        )
    for number, (key, parameter) in enumerate(zip(saved, known, strict=True)):
        for name, value in state["state"].get(key, {}).items():
            if isinstance(value, Tensor) and value.dim() and value.shape != parameter.shape:
                raise ValueError(
                    f"its optimiser's {name} of parameter {number} is {tuple(value.shape)} "
                    f"where the network has {tuple(parameter.shape)}"
                )


def clock_factor(progress: float) -> float:
    """Factor on the learning rate after a share of the training, both in [0, 1]."""
    if progress < WARM_UP_SHARE:
        return max(progress / WARM_UP_SHARE, 0.01)
    return min(1.0, max(0.0, (1 - progress) / (1 - DECAY_FROM_SHARE)))


def milestone_factor(epoch: int, milestones: Sequence[int], warmup: int) -> float:
    """Factor on the learning rate in an epoch: a fifth in the first ones and after each milestone.

    As 3DDFA and SynergyNet train: 0.2 up to `warmup`, 1 up to and with the first milestone.
    """
    if epoch <= warmup:
        return 0.2
    return 0.2 ** sum(milestone < epoch for milestone in milestones)


class Schedule:
    """One optimiser's learning rate over a training."""

    def __init__(self, optimizer: torch.optim.Optimizer, options: OptimiserOptions) -> None:
        """Choose the policy; figures as in the public code, so that its checkpoints resume."""
        self.policy = options.lr_policy
        self.first_epoch, self.last_epoch = options.epoch_count, options.n_epochs
        self._optimizer = optimizer
        self._base = [group["lr"] for group in optimizer.param_groups]
        self._by_epoch: lr_scheduler.LRScheduler | None = None
        first, last = self.first_epoch, self.last_epoch
        if self.policy == "linear":
            self._by_epoch = lr_scheduler.LambdaLR(
                optimizer, lambda e: 1 - max(0, e + first - last) / (last + 1)
            )
        elif self.policy == "milestones":
            self._by_epoch = lr_scheduler.LambdaLR(
                optimizer, lambda e: milestone_factor(e + first, options.milestones, options.warmup)
            )
        elif self.policy == "step":
            self._by_epoch = lr_scheduler.StepLR(optimizer, options.lr_decay_epochs, gamma=0.2)
        elif self.policy == "plateau":
            self._by_epoch = lr_scheduler.ReduceLROnPlateau(
                optimizer, mode="min", factor=0.2, threshold=0.01, patience=5
            )
        elif self.policy == "cosine":
            self._by_epoch = lr_scheduler.CosineAnnealingLR(optimizer, T_max=options.n_epochs)

    @property
    def rate(self) -> float:
        """Current learning rate of the first parameter group."""
        return self._optimizer.param_groups[0]["lr"]

    def set_progress(self, progress: float) -> None:
        """Follow the share of the training done; only the clock policy heeds it."""
        if self._by_epoch is None:
            for group, base in zip(self._optimizer.param_groups, self._base, strict=True):
                group["lr"] = base * clock_factor(progress)

    def end_epoch(self, validation_loss: float | None) -> None:
        """Advance the policies by epoch."""
        if isinstance(self._by_epoch, lr_scheduler.ReduceLROnPlateau):
            if validation_loss is not None:
                self._by_epoch.step(validation_loss)
        elif self._by_epoch is not None:
            with warnings.catch_warnings():
                # torch misses the optimiser's steps where they were taken before a resume.
                warnings.filterwarnings("ignore", message="Detected call of .lr_scheduler.step")
                self._by_epoch.step()

    def state_dict(self) -> dict[str, Any]:
        """State of the policy; empty for the clock, whose state is the progress."""
        # LambdaLR lists None for its functions; it, and so the public code, wants to read them.
        return {} if self._by_epoch is None else self._by_epoch.state_dict()

    def load_state_dict(self, state: Any) -> None:
        """Continue from a saved state.

        Raises:
            ValueError: it is none.
        """
        if not isinstance(state, dict):
            raise ValueError(f"its schedule is a {type(state).__name__} where a dict was expected")
        if self._by_epoch is not None and state:
            current = self._by_epoch.state_dict()
            self._by_epoch.load_state_dict({**current, **state})
