"""The timing table: cases take turns, and ratios compare medians with the first case."""

import time

import pytest
import torch

from benchmarks.timing import Timing, TimingTable, compare, threads_and_repeats


def test_cases_take_turns_after_the_warm_up() -> None:
    calls: list[str] = []
    table = compare(
        {"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, repeats=3, warm_up=1
    )
    assert calls == ["a", "b"] * 4
    assert [len(timing.seconds) for timing in table.timings] == [3, 3]


def test_what_comes_before_is_called_and_not_measured() -> None:
    calls: list[str] = []
    table = compare(
        {"a": lambda: calls.append("a")},
        repeats=2,
        warm_up=0,
        before=lambda: (calls.append("before"), time.sleep(0.05)),
    )
    assert calls == ["before", "a"] * 2
    assert table["a"].median < 0.05


def test_ratio_is_of_medians() -> None:
    table = TimingTable((Timing("slow", (4.0, 6.0, 100.0)), Timing("fast", (2.0, 9.0, 1.0))), "T")
    assert table.ratio("fast") == 3
    assert table["fast"].minimum == 1
    lines = str(table).splitlines()
    assert lines[0] == "T"
    assert lines[-1].split() == ["fast", "2000.00", "1000.00", "3.00"]


def test_the_command_line_sets_the_threads() -> None:
    assert threads_and_repeats("Speed.", ["--threads", "2", "--repeats", "4"]) == 4
    assert torch.get_num_threads() == 2
    assert threads_and_repeats("Speed.", []) == 15
    assert torch.get_num_threads() == 2


def test_mistakes_are_named() -> None:
    with pytest.raises(ValueError, match="repeats >= 1"):
        compare({"a": list}, repeats=0)
    with pytest.raises(KeyError, match="no case 'c'; measured were: a"):
        compare({"a": list}, repeats=1)["c"]
