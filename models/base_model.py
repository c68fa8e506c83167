"""The protocol between the training script and any model: nothing here knows faces or files."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from models.batch_norm import synchronise_batch_norms
from models.schedule import Schedule, load_optimizer, optimizer_state
from util.training.distributed import ALONE, WHOLE, Ranks, Share


class BaseModel(ABC):
    """A trainable model: `set_input`, then `optimize_parameters` or `evaluate`, many times.

    A subclass names its option dataclasses in `option_groups` (the registry turns them into
    flags), its networks in `networks`, and fills `optimizers`.
    """

    option_groups: ClassVar[tuple[type, ...]] = ()
    figure_of_merit: ClassVar[str] = "all"
    """The validation loss by which the best epoch is chosen (`--keep_best`)."""

    def __init__(self, options: Any, assets: Any, device: torch.device) -> None:
        """Start without networks or optimisers; the subclass adds its own.

        Args:
            options: the parsed groups of `option_groups`, found by their class.
            assets: parts that come from files (`models.assets.ModelAssets`), or None.
            device: where everything computes.
        """
        self.device = device
        self.networks: dict[str, nn.Module] = {}
        """What checkpoints hold, by the name of its key, such as `net_recon`."""
        self.optimizers: list[torch.optim.Optimizer] = []
        self.schedules: list[Schedule] = []
        self.losses: dict[str, Tensor] = {}
        """Weighted terms of the last step, the total under "all"; scalars."""
        self.notice = ""
        """What the user should know before the first step; may be empty."""
        self.ranks = ALONE
        """The processes that train this model together."""
        self.share = WHOLE
        """Which part of its batch this process has; see `util.training.distributed`."""
        self._kept: list[Tensor] = []
        """The networks' buffers before the current step."""
        self.scaler: torch.amp.GradScaler | None = None  # pyright: ignore
        """Keeps gradients in float16's range, where networks compute in it."""

    def distribute(self, ranks: Ranks) -> None:
        """Train together with other processes from now on.

        As in the public code, batch normalisation takes its statistics over the batch of all
        processes, so that a network does not depend on their number.
        """
        self.ranks = ranks
        if ranks.size == 1:
            return
        for network in self.networks.values():
            synchronise_batch_norms(network, ranks)
            ranks.copy_from_first([*network.parameters(), *network.buffers()])
        self.compile_networks(ranks.size)

    def compile_networks(self, ranks: int) -> None:
        """Compile what the options say, for a training by so many processes; nothing by default."""
        del ranks

    @abstractmethod
    def set_input(self, batch: Any) -> None:
        """Take a batch onto the model's device."""

    @abstractmethod
    def forward(self) -> None:
        """Compute the outputs for the current input."""

    @abstractmethod
    def compute_losses(self) -> Mapping[str, Tensor]:
        """Weighted loss terms of the current outputs, without the total."""

    @abstractmethod
    def visuals(self) -> Tensor:
        """Pictures of the current input and outputs, (B, 3, H, W) RGB in [0, 1]."""

    def optimize_parameters(self, share: Share = WHOLE) -> bool:
        """One training step: forward, losses, gradients, update.

        Args:
            share: which part of the step's batch the input is.

        Returns:
            Whether the step was taken. A loss or gradient that is not finite leaves the networks
            as they were, so that one broken sample cannot destroy a training.
        """
        self.train()
        self.share = share
        self._keep_buffers()
        self.forward()
        self._total()
        for optimizer in self.optimizers:
            optimizer.zero_grad(set_to_none=True)
        overflow = False
        if self.ranks.all(bool(torch.isfinite(self.losses["all"]))):
            if self._descend(self.losses["all"] * share.faces):
                return True
            # A gradient too large for float16 says nothing about the batch: its scale was too
            # large, is halved now, and the batch is left out, until the scale is down to 1.
            overflow = self.scaler is not None and self.scaler.get_scale() >= 1
        _copy_all(self._buffers(), self._kept)
        return overflow

    def _buffers(self) -> list[Tensor]:
        """Those that training changes: constants, such as a face model's, are not persistent."""
        return [
            buffer
            for net in self.networks.values()
            for module in net.modules()
            for name, buffer in module._buffers.items()
            if buffer is not None and name not in module._non_persistent_buffers_set
        ]

    def _keep_buffers(self) -> None:
        """Note the buffers, for batch normalisation takes statistics before a loss shows anything.

        Into the same memory each step, and on a GPU by a few kernels: a resnet50 has 159 of them.
        """
        buffers = self._buffers()
        forms = [(b.shape, b.dtype, b.device) for b in buffers]
        if forms != [(b.shape, b.dtype, b.device) for b in self._kept]:
            self._kept = [torch.empty_like(b) for b in buffers]
        _copy_all(self._kept, buffers)

    def _descend(self, loss: Tensor) -> bool:
        """Gradients and update, unless a gradient is not finite; says whether all were."""
        scaler = self.scaler
        (loss if scaler is None else scaler.scale(loss)).backward()
        self.ranks.add_gradients(p for net in self.networks.values() for p in net.parameters())
        if scaler is not None:
            for optimizer in self.optimizers:
                scaler.unscale_(optimizer)
        finite = self.clip_gradients()
        if finite:
            for optimizer in self.optimizers:
                optimizer.step()
        if scaler is not None:
            scaler.update()
        return finite

    @torch.no_grad()
    def evaluate(self) -> None:
        """Outputs and losses of the current input without an update; of this process alone."""
        self.eval()
        self.share = WHOLE
        self.forward()
        self._total()

    def _total(self) -> None:
        terms = dict(self.compute_losses())
        self.losses = {"all": torch.stack(list(terms.values())).sum(), **terms}

    def signs(self) -> dict[str, Tensor]:
        """What warnings look at beside the losses, under the same names in every process.

        Returns:
            Name -> (2,) sum over those of the input's faces that it looks at, and their number.
        """
        return {}

    def clip_gradients(self) -> bool:
        """Limit the gradient where the model wants it; says whether it is finite."""
        parameters = [p for net in self.networks.values() for p in net.parameters()]
        norm = nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
        return bool(torch.isfinite(norm))

    @property
    def first_epoch(self) -> int:
        """Number of the first epoch (`--epoch_count`)."""
        return self.schedules[0].first_epoch

    @property
    def last_epoch(self) -> int:
        """Number of the last epoch (`--n_epochs`)."""
        return self.schedules[0].last_epoch

    @property
    def rate(self) -> float:
        """Current learning rate."""
        return self.schedules[0].rate

    def train(self) -> None:
        """Put the trained networks into training mode."""
        for network in self.networks.values():
            network.train()

    def eval(self) -> None:
        """Put the trained networks into inference mode."""
        for network in self.networks.values():
            network.eval()

    def set_progress(self, progress: float) -> None:
        """Follow the share of the training that is over, in [0, 1]; called before each step."""
        for schedule in self.schedules:
            schedule.set_progress(progress)

    def end_epoch(self, validation_loss: float | None) -> None:
        """Follow the end of an epoch; plateau schedules read the validation loss."""
        for schedule in self.schedules:
            schedule.end_epoch(validation_loss)

    def state(self) -> dict[str, Any]:
        """What a checkpoint holds: networks by name, `opt_00`.., `sched_00`.., maybe `scaler`."""
        state: dict[str, Any] = {name: net.state_dict() for name, net in self.networks.items()}
        for number, optimizer in enumerate(self.optimizers):
            state[f"opt_{number:02d}"] = optimizer_state(optimizer)
        for number, schedule in enumerate(self.schedules):
            state[f"sched_{number:02d}"] = schedule.state_dict()
        if self.scaler is not None:
            state["scaler"] = self.scaler.state_dict()
        return state

    def mismatch(self, state: Mapping[str, Any]) -> str:
        """Why the networks of a checkpoint mean something else than this model's; "" if not."""
        return ""

    def load_training_state(self, state: Mapping[str, Any]) -> None:
        """Take over a checkpoint's optimisers and schedules, to resume.

        Raises:
            ValueError: the checkpoint was saved for inference, or by another set of optimisers.
        """
        try:
            for number, optimizer in enumerate(self.optimizers):
                load_optimizer(optimizer, state[f"opt_{number:02d}"])
            for number, schedule in enumerate(self.schedules):
                schedule.load_state_dict(state[f"sched_{number:02d}"])
            # A run in another precision has no scale; then it is found anew.
            if self.scaler is not None and state.get("scaler"):
                self.scaler.load_state_dict(dict(state["scaler"]))
        except KeyError as error:
            raise ValueError(f"the checkpoint has no {error} to resume from") from error


def _copy_all(targets: list[Tensor], sources: list[Tensor]) -> None:
    # Types apart: of several at once each tensor is copied by itself.
    for dtype in {tensor.dtype for tensor in targets}:
        pairs = [pair for pair in zip(targets, sources, strict=True) if pair[0].dtype == dtype]
        torch._foreach_copy_(*(list(side) for side in zip(*pairs, strict=True)))  # pyright: ignore
