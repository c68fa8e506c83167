"""Work in several processes: order of results does not matter, deaths cost one item."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from data.worker_pool import WorkerDied, WorkerPool, map_in_processes


def square(number: int) -> int:
    return number * number


def die_on_three(number: int) -> int:
    if number == 3:
        os._exit(7)
    return number


def killed_on_three(number: int) -> int:
    if number == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def fail_on_three(number: int) -> int:
    if number == 3:
        raise KeyError("three")
    return number


def thread_limit(_: int) -> str | None:
    return os.environ.get("OMP_NUM_THREADS")


class Slow:
    """Keeps count of its calls, to show that a worker keeps its copy."""

    calls = 0

    def __call__(self, number: int) -> int:
        time.sleep(0.01)
        self.calls += 1
        return self.calls


class DiesAtBirth:
    def __setstate__(self, state: dict) -> None:
        os._exit(9)

    def __getstate__(self) -> dict:
        return {"not": "empty"}

    def __call__(self, number: int) -> int:
        return number


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_every_item_once(workers: int) -> None:
    results = dict(map_in_processes(square, list(range(7)), workers))
    assert results == {n: n * n for n in range(7)}


def test_nothing_to_do() -> None:
    assert list(map_in_processes(square, [], 2)) == []


def test_a_death_costs_one_item() -> None:
    results = dict(map_in_processes(die_on_three, [3, 0, 1, 2, 4, 5], 2))
    died = results.pop(3)
    assert results == {n: n for n in (0, 1, 2, 4, 5)}
    assert isinstance(died, WorkerDied)
    assert died.exit_code == 7
    assert "exit code 7" in str(died)


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="signals of Unix")
def test_a_worker_killed_by_the_system_costs_one_item() -> None:
    results = dict(map_in_processes(killed_on_three, iter(range(6)), 2))
    died = results.pop(3)
    assert results == {n: n for n in (0, 1, 2, 4, 5)}
    assert isinstance(died, WorkerDied)
    assert died.exit_code == -signal.SIGKILL


def test_items_are_taken_as_workers_become_free() -> None:
    taken = []

    def items():
        for number in range(1000):
            taken.append(number)
            yield number

    results = map_in_processes(square, items(), 2)
    for _ in range(10):
        next(results)
    assert len(taken) <= 10 + 2 * 2
    results.close()  # pyright: ignore[reportAttributeAccessIssue]


PARENT = """
import sys
from pathlib import Path
from data.worker_pool import map_in_processes
from tests.data.test_worker_pool import busy
if __name__ == "__main__":
    list(map_in_processes(busy, [Path(sys.argv[1])], 1))
"""


def busy(place: Path) -> None:
    """Say which process it is, then compute for a minute."""
    place.write_text(str(os.getpid()), encoding="utf-8")
    end = time.monotonic() + 60
    while time.monotonic() < end:
        pass


@pytest.mark.skipif(sys.platform == "win32", reason="needs signals")
def test_workers_end_with_their_parent_even_if_it_is_killed(tmp_path: Path) -> None:
    place, script = tmp_path / "pid", tmp_path / "parent.py"
    script.write_text(PARENT, encoding="utf-8")
    root = Path(__file__).resolve().parents[2]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    with subprocess.Popen([sys.executable, script, place], cwd=root, env=environment) as parent:
        until(lambda: place.is_file() and bool(place.read_text(encoding="utf-8")))
        worker = int(place.read_text(encoding="utf-8"))
        parent.kill()
    until(lambda: not is_running(worker), 20)


def until(condition: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def is_running(process: int) -> bool:
    """A dead one that nobody has waited for is not."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    status = Path(f"/proc/{process}/stat")
    return not status.is_file() or status.read_text().rpartition(")")[2].split()[0] != "Z"


def test_even_the_last_worker_is_replaced() -> None:
    results = dict(map_in_processes(die_on_three, [3, 1], 1))
    assert results[1] == 1
    assert isinstance(results[3], WorkerDied)


@pytest.mark.parametrize("workers", [0, 2])
def test_exceptions_reach_the_caller(workers: int) -> None:
    with pytest.raises(KeyError, match="three"):
        list(map_in_processes(fail_on_three, [1, 3, 5], workers))


def test_workers_that_cannot_start_are_an_error_not_a_loop() -> None:
    with pytest.raises(RuntimeError, match="cannot start"):
        list(map_in_processes(DiesAtBirth(), [1, 2, 3], 2))


def test_a_worker_keeps_what_it_loaded() -> None:
    results = [result for _, result in map_in_processes(Slow(), [1, 2, 3], 1)]
    assert results == [1, 2, 3]


def process_of(number: int) -> int:
    """That works on it; a negative number ends it."""
    if number < 0:
        os._exit(7)
    return os.getpid()


def test_processes_stay_for_the_next_items() -> None:
    """As many as before, where one has died waiting for an item, or at it."""
    with WorkerPool(process_of, 2) as pool:
        first, again = ({result for _, result in pool.map(range(8))} for _ in range(2))
        assert len(first | again) <= 2 and first & again
        killed = again.pop()
        assert isinstance(killed, int)
        os.kill(killed, signal.SIGTERM)
        until(lambda: not is_running(killed))
        results = dict(pool.map([0, 1, 2, -1, 4]))
        assert isinstance(results.pop(-1), WorkerDied) and set(results) == {0, 1, 2, 4}
        last = {result for _, result in pool.map(range(8)) if isinstance(result, int)}
        assert len(last) <= 2 and killed not in last
    assert not any(map(is_running, last))


def test_a_call_that_is_given_up_leaves_nothing_to_the_next() -> None:
    with WorkerPool(process_of, 2) as pool:
        results = pool.map(range(100))
        next(results)
        results.close()  # pyright: ignore[reportAttributeAccessIssue]
        assert sorted(item for item, _ in pool.map([200, 201])) == [200, 201]


def test_workers_compute_with_one_thread_each(monkeypatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    assert [result for _, result in map_in_processes(thread_limit, [0], 1)] == ["1"]
    assert os.environ["OMP_NUM_THREADS"] == "5"
