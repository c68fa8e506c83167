"""Which folders hold the Basel Face Model 2009 or its sources, and what is said of others."""

from __future__ import annotations

from pathlib import Path

import pytest

from util.errors import InputError
from util.model_files.bfm09_folder import (
    DEVIATIONS,
    IDENTITY,
    MODEL_INFO,
    SOURCE_FILES,
    check_bfm09,
    missing_sources,
    what_bfm09_lacks,
)

MODEL = "BFM_model_front.mat"


def put(folder: Path, *names: str) -> Path:
    """Files of these names; the path of the model."""
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / name).touch()
    return folder / MODEL


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "BFM"


ALL = [source.name for source in SOURCE_FILES]


def test_either_the_model_or_all_its_sources_are_enough(folder: Path, tmp_path: Path):
    check_bfm09(put(folder, MODEL))
    check_bfm09(put(tmp_path / "sources", *ALL))
    assert missing_sources(tmp_path / "sources") == []


@pytest.mark.parametrize("lacking", SOURCE_FILES, ids=lambda source: source.name)
def test_each_source_is_needed(folder: Path, lacking):
    path = put(folder, *(name for name in ALL if name != lacking.name))
    assert missing_sources(folder) == [lacking]
    with pytest.raises(InputError) as raised:
        check_bfm09(path)
    said = str(raised.value)
    assert f"there is no {path}, and to make it {lacking.name} would be needed;" in said
    assert f"into {folder} (--bfm_folder)" in said and "--face_model open" in said
    assert not any(name in said for name in ALL if name != lacking.name)


def test_a_folder_in_a_files_place_is_no_file(folder: Path):
    path = put(folder, *ALL[1:])
    (folder / ALL[0]).mkdir()
    assert [source.name for source in missing_sources(folder)] == ALL[:1]
    path.mkdir()
    with pytest.raises(InputError, match=f"there is no {path}"):
        check_bfm09(path)


def test_of_nothing_only_the_model_is_missed(folder: Path):
    """Whoever has none of the files is not shown a list of six."""
    said = what_bfm09_lacks(folder / MODEL)
    assert said == f"there is no {folder / MODEL}"
    folder.mkdir()
    assert what_bfm09_lacks(folder / MODEL) == said
    # Nor is what lies there for other purposes spoken of.
    put(folder, "README.md", "open_face_model.npz", MODEL_INFO.name.upper() + ".txt")
    assert what_bfm09_lacks(folder / MODEL) == said


def test_look_alikes_are_named_in_order(folder: Path):
    archives = ("BaselFaceModel.tgz", "Coarse_Dataset.ZIP", "model2017-1_face12_nomouth.h5")
    said = what_bfm09_lacks(put(folder, *reversed(archives), DEVIATIONS.name))
    assert f"(of {', '.join(archives)} nothing is used: archives must be unpacked" in said
    assert "--face_model bfm17 or bfm19" in said
    assert IDENTITY.name in said and DEVIATIONS.name not in said


def test_remedies_name_file_and_publisher():
    assert all(source.remedy.startswith(f"{source.name} is ") for source in SOURCE_FILES)
    assert "faces.dmi.unibas.ch" in IDENTITY.remedy
    assert "github.com/sicxu/Deep3DFaceRecon_pytorch" in MODEL_INFO.remedy
