"""Compilation without a writable cache, and work spread over threads."""

import importlib.util
import threading
from pathlib import Path

import numba
import numpy as np
import pytest
import torch
from numba.core import event

from models.kernels import for_each_item, kernel, on_first_compilation


def test_kernels_compile_where_no_cache_can_be_written(monkeypatch) -> None:
    njit = numba.njit

    # Functions too: numba's own, which it decorates when it compiles for the first time.
    def without_cache_folder(*functions, cache: bool = False, **options):
        if cache:
            raise RuntimeError("cannot cache function: no locator available")
        return njit(*functions, **options)

    monkeypatch.setattr(numba, "njit", without_cache_folder)

    def double(array):
        for index in range(len(array)):
            array[index] *= 2

    values = np.arange(4.0)
    kernel(double)(values)
    np.testing.assert_array_equal(values, [0, 2, 4, 6])


@pytest.mark.parametrize("threads", [1, 3])
def test_every_item_is_done_once(threads: int) -> None:
    torch.set_num_threads(threads)
    done: list[int] = []
    for_each_item(done.append, 7)
    assert sorted(done) == list(range(7))


def test_items_share_the_threads() -> None:
    torch.set_num_threads(2)
    barrier = threading.Barrier(2, timeout=30)  # passes only if two items run at once

    def meet(_: int) -> None:
        barrier.wait()

    for_each_item(meet, 2)


def test_an_error_in_a_thread_is_raised() -> None:
    def fail(item: int) -> None:
        raise ArithmeticError(f"item {item}")

    torch.set_num_threads(2)
    with pytest.raises(ArithmeticError, match="item"):
        for_each_item(fail, 4)


def test_compilation_is_told_once_and_only_when_the_cache_lacks_it(tmp_path: Path) -> None:
    source = tmp_path / "loops.py"
    source.write_text(
        "from models.kernels import kernel\n@kernel\ndef double(x):\n    return 2 * x\n"
    )

    def double(number):
        """As a new process would: the module is read again, the cache stays."""
        spec = importlib.util.spec_from_file_location("loops", source)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module.double(number)

    told: list[str] = []
    before = list(event._registered["numba:compile"])
    with on_first_compilation(lambda: told.append("first")):
        assert double(3) == 6 and told == ["first"]
    with on_first_compilation(lambda: told.append("second")):
        assert double(3) == 6 and told == ["first"], "taken from the cache"
        assert double(1.5) == 3 and told == ["first", "second"], "other types are compiled"
        assert double(1j) == 2j and told == ["first", "second"], "told once"
    assert event._registered["numba:compile"] == before, "nobody listens any more"
