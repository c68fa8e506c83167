"""Several lists in one training: how they are written, and what an epoch has of each."""

from pathlib import Path

import numpy as np
import pytest

from data.mixing import ListPart, apportion, mixed_order, parse_lists
from util.errors import InputError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("datalist/train/masks.txt", [("datalist/train/masks.txt", None)]),
        ("C:\\faces\\masks.txt", [("C:\\faces\\masks.txt", None)]),
        ("a.txt:7,b.txt:3", [("a.txt", 0.7), ("b.txt", 0.3)]),
        ("C:\\a.txt:0.5, D:\\b.txt:0.5", [("C:\\a.txt", 0.5), ("D:\\b.txt", 0.5)]),
        ("a.txt,b.txt", [("a.txt", None), ("b.txt", None)]),
        ("a.txt:0.4", [("a.txt", 1.0)]),
    ],
)
def test_lists_and_shares(text, expected) -> None:
    parts = parse_lists(text, "--flist")
    assert [part.path for part in parts] == [Path(name) for name, _ in expected]
    assert [part.share for part in parts] == [
        share if share is None else pytest.approx(share) for _, share in expected
    ]


def test_a_file_with_an_odd_name_is_one_list(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a,b.txt").write_text("", encoding="utf-8")
    assert parse_lists("a,b.txt", "--flist") == [ListPart(Path("a,b.txt"))]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a.txt:0.5,b.txt", "gives shares to some lists"),
        ("a.txt:0,b.txt:1", r"the share of a\.txt is 0; it must be above 0"),
        ("a.txt:-1,b.txt:1", "must be above 0"),
        ("a.txt:inf,b.txt:1", "must be above 0"),
        ("a.txt:nan,b.txt:1", "must be above 0"),
        ("a.txt:1,,b.txt:1", "names an empty list"),
    ],
)
def test_impossible_shares_are_refused(text, problem) -> None:
    with pytest.raises(InputError, match=f"--flist .*{problem}"):
        parse_lists(text, "--flist")


def test_parts_add_up() -> None:
    random = np.random.default_rng(0)
    for _ in range(200):
        shares, total = random.uniform(0.01, 1, random.integers(1, 6)), int(random.integers(500))
        counts = np.array(apportion(total, shares.tolist()))
        assert counts.sum() == total
        assert (np.abs(counts - shares / shares.sum() * total) < 1).all()


def test_an_epoch_has_its_shares() -> None:
    """The large list in part, without repetition; the small one several times, evenly."""
    sizes, shares = [90, 10], [0.6, 0.4]
    order = mixed_order(100, sizes, shares, np.random.default_rng(1))
    photos = order % 100
    large, small = order[photos < 90], order[photos >= 90]
    assert (len(large), len(small)) == (60, 40)
    assert len(set(large.tolist())) == 60
    assert (np.bincount(small % 100 - 90) == 4).all()
    # Copies have numbers, and so random numbers, of their own.
    assert len(set(order.tolist())) == 100
    # Mixed, not one after the other.
    assert 15 < (photos[:50] >= 90).sum() < 25
    again = mixed_order(100, sizes, shares, np.random.default_rng(1))
    np.testing.assert_array_equal(order, again)
    other = mixed_order(100, sizes, shares, np.random.default_rng(2))
    assert set(large.tolist()) != set(other[other % 100 < 90].tolist())


def test_many_long_names_are_no_file() -> None:
    """Together they are longer than a file's name may be."""
    names = [f"datalist/a_rather_long_name_of_a_list_{number}" for number in range(12)]
    assert [part.path for part in parse_lists(",".join(names), "--flist")] == list(map(Path, names))
    names = [f"{name.replace('/', '_')}.txt" for name in names]
    assert len(parse_lists(",".join(names), "--flist")) == 12
