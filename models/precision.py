"""In which precision what is computed: networks may be reduced, everything else is float32.

Autocast (`--amp`) covers the R-Net alone. TF32 is allowed where torch allows it by default, in
convolutions, and only networks convolve; matrix products, from which shapes, rotations and crops
come, stay in full float32 (`full_products` here, and `util.devices.choose_device` for the backward
pass and the rest of a process).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def full_products() -> Iterator[None]:
    """Matrix products of the block, or of the function it decorates, in full float32.

    Whatever the caller or a container's environment variable has set: TF32's and bfloat16's short
    mantissas move a projected vertex by a tenth of a pixel or several.
    """
    before = torch.get_float32_matmul_precision()
    if before == "highest":
        yield
        return
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def autocast_dtype(amp: str, device: torch.device) -> torch.dtype | None:
    """The reduced precision that the networks run in, or None for float32.

    Raises:
        ValueError: a precision that the device does not compute in.
    """
    if amp == "fp16":
        if device.type != "cuda":
            raise ValueError(
                f"--amp fp16 computes on GPUs, this run is on the {device.type}; take --amp bf16, "
                "auto or none"
            )
        return torch.float16
    if amp == "bf16":
        return torch.bfloat16
    if amp == "auto" and device.type == "cpu" and _cpu_computes_bf16():
        return torch.bfloat16
    return None


def gradient_scaler(dtype: torch.dtype | None, device: torch.device):
    """What keeps gradients in float16's range; None for types that have float32's."""
    return torch.amp.GradScaler(device.type) if dtype is torch.float16 else None  # pyright: ignore


def _cpu_computes_bf16() -> bool:
    """Whether the CPU has bfloat16 instructions; emulated, it would be slower than float32."""
    # No public function tells; a torch without these private ones counts as "no".
    checks = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return torch.backends.mkldnn.is_available() and any(
        getattr(torch.cpu, name, bool)() for name in checks
    )
