"""The state of every random generator of a process, in a form that checkpoints can hold."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch


def random_state(device: torch.device | None = None) -> dict[str, Any]:
    """What torch, numpy, Python and the GPU would draw next.

    The libraries' own formats become tensors and plain values, which can be read back without
    executing code.

    Args:
        device: whose CUDA generator is kept; None or a CPU has none.
    """
    version, words, next_normal = random.getstate()
    legacy: Any = np.random.get_state(legacy=False)  # noqa: NPY002 - the state libraries share
    state: dict[str, Any] = {
        "torch": torch.get_rng_state(),
        "python": (version, torch.tensor(words, dtype=torch.int64), next_normal),
        "numpy": {
            "bit_generator": str(legacy["bit_generator"]),
            "key": torch.from_numpy(legacy["state"]["key"].astype(np.int64)),
            "pos": int(legacy["state"]["pos"]),
            "has_gauss": int(legacy["has_gauss"]),
            "gauss": float(legacy["gauss"]),
        },
    }
    if device is not None and device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    return state


def seed_everything(seed: int) -> None:
    """Start the generators of torch (all devices), numpy and Python anew."""
    torch.manual_seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002
    random.seed(seed)


def set_random_state(state: Mapping[str, Any], device: torch.device | None = None) -> None:
    """Go on drawing where `random_state` was taken.

    Args:
        state: from `random_state`; generators that it does not name stay as they are.
        device: whose CUDA generator is set.

    Raises:
        KeyError, TypeError, ValueError, RuntimeError: not such a state.
    """
    if "torch" in state:
        torch.set_rng_state(state["torch"])
    if "python" in state:
        version, words, next_normal = state["python"]
        random.setstate((version, tuple(words.tolist()), next_normal))
    if "numpy" in state:
        saved = state["numpy"]
        np.random.set_state(  # noqa: NPY002
            {
                "bit_generator": saved["bit_generator"],
                "state": {"key": saved["key"].numpy().astype(np.uint32), "pos": saved["pos"]},
                "has_gauss": saved["has_gauss"],
                "gauss": saved["gauss"],
            }
        )
    if "cuda" in state and device is not None and device.type == "cuda":
        torch.cuda.set_rng_state(state["cuda"], device)
