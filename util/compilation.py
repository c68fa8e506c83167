"""Say that loops are being compiled, which the first run of an installation waits for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tqdm import tqdm

from models.kernels import on_first_compilation

COMPILING = "Compiling loops for this computer, once: 10 seconds to a minute"


@contextmanager
def say_when_compiling() -> Iterator[None]:
    """Print it when it begins; nothing where earlier runs have left all in the cache."""
    # Not into the middle of a progress bar.
    with on_first_compilation(lambda: tqdm.write(COMPILING)):
        yield
