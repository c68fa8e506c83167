"""Where the Basel Face Models of 2017 and 2019 are looked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from options.face_options import NAMED_FACE_MODELS
from util.errors import InputError
from util.model_files.bfm_releases import BFM17, BFM19, RELEASES, check_release, find_release


def test_names_are_those_of_the_flag():
    assert all(release.name in NAMED_FACE_MODELS for release in RELEASES)
    assert [find_release(release.name) for release in RELEASES] == list(RELEASES)


@pytest.mark.parametrize("name", ["bfm09", "open", "BFM17", "", "bfm17.h5"])
def test_others_are_none(name: str):
    assert find_release(name) is None


def test_vertices_and_files_are_told_apart_by_one_number():
    """`read_bfm_h5` recognises a release, or its relative with another mask, by its vertices."""
    counts = [release.vertices for release in RELEASES]
    counts += [count for release in RELEASES for count in release.others]
    assert len(set(counts)) == len(counts)
    files = [release.file for release in RELEASES]
    files += [file for release in RELEASES for file in release.others.values()]
    assert len(set(files)) == len(files)


@pytest.mark.parametrize("release", RELEASES, ids=lambda release: release.name)
def test_its_file_is_taken(tmp_path: Path, release):
    (tmp_path / release.file).touch()
    assert check_release(tmp_path, release) == tmp_path / release.file
    other = BFM19 if release is BFM17 else BFM17
    with pytest.raises(InputError, match=f"there is no {tmp_path / other.file}; {other.name} is"):
        check_release(tmp_path, other)


def test_a_relative_that_is_there_is_named(tmp_path: Path):
    for name in ("model2019_fullHead.h5", "model2017-1_bfm_nomouth.h5"):
        (tmp_path / name).touch()
    with pytest.raises(InputError) as raised:
        check_release(tmp_path, BFM19)
    said = str(raised.value)
    assert "(model2019_fullHead.h5, which is there, shows more than the face)" in said
    assert "model2017" not in said, "of another year"
    assert "model2019_bfm.h5" not in said, "not there"
    assert "faces.dmi.unibas.ch" in said and "(--bfm_folder), or give its path" in said


def test_a_folder_that_is_not_there_lacks_all(tmp_path: Path):
    with pytest.raises(InputError) as raised:
        check_release(tmp_path / "gone", BFM17)
    assert "which is there" not in str(raised.value)
