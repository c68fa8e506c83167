"""BFM09's files to BFM_model_front.mat: against plain loops, and every wrong file by its name."""

from __future__ import annotations

import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.io import loadmat, savemat

from tests.bfm_files import SMALL, write_small_sources
from util.errors import InputError
from util.model_files import bfm_conversion
from util.model_files.bfm09_folder import EXPRESSION, FRONT_INDEX, SOURCE_FILES, missing_sources
from util.model_files.bfm_conversion import (
    BFM09_SIZES,
    check_source,
    check_sources,
    convert_bfm09,
)
from util.model_files.bfm_file import BASIS_SIZES, read_bfm_model

TARGET = "BFM_model_front.mat"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_small_sources(tmp_path / "BFM é")
    return tmp_path / "BFM é"


def convert(folder: Path) -> dict[str, np.ndarray]:
    convert_bfm09(folder, folder / TARGET, SMALL)
    return loadmat(folder / TARGET)


def plain_conversion(folder: Path) -> dict[str, np.ndarray]:
    """One number after the other, in float64: what the public conversion means."""
    model = loadmat(folder / "01_MorphableModel.mat")
    chosen = loadmat(folder / "BFM_front_idx.mat")["idx"].ravel()
    trimmed = loadmat(folder / "BFM_exp_idx.mat")["trimIndex"].ravel()
    raw = (folder / "Exp_Pca.bin").read_bytes()
    components = int(np.frombuffer(raw, "<i4", 1)[0])
    floats = np.frombuffer(raw, "<f4", offset=4).reshape(1 + components, -1)
    sigma = [float(word) for word in (folder / "std_exp.txt").read_text().split()]
    count = len(chosen)
    result = {
        "idBase": np.zeros((3 * count, 80)),
        "exBase": np.zeros((3 * count, 64)),
        "texBase": np.zeros((3 * count, 80)),
        "meanshape": np.zeros((1, 3 * count), np.float32),
        "meantex": np.zeros((1, 3 * count), np.float32),
    }
    for vertex in range(count):
        in_expression = int(chosen[vertex]) - 1
        in_model = int(trimmed[in_expression]) - 1
        for axis in range(3):
            row, source = 3 * vertex + axis, 3 * in_model + axis
            result["meanshape"][0, row] = model["shapeMU"][source, 0] / np.float32(1e5)
            result["meantex"][0, row] = model["texMU"][source, 0]
            for k in range(80):
                deviation = float(model["shapeEV"][k, 0])
                result["idBase"][row, k] = float(model["shapePC"][source, k]) * deviation / 1e5
                deviation = float(model["texEV"][k, 0])
                result["texBase"][row, k] = float(model["texPC"][source, k]) * deviation
            for k in range(64):
                value = float(floats[1 + k, 3 * in_expression + axis])
                result["exBase"][row, k] = value * sigma[k] / 1e5
    return result


def test_against_plain_loops(folder: Path):
    made, expected = convert(folder), plain_conversion(folder)
    for key in BASIS_SIZES:
        assert made[key].dtype == np.float32
        np.testing.assert_allclose(made[key], expected[key], rtol=1e-6, atol=0)
    for key in ("meanshape", "meantex"):
        np.testing.assert_array_equal(made[key], expected[key], strict=True)


def test_integer_arrays_pass_through(folder: Path):
    made, info = convert(folder), loadmat(folder / "facemodel_info.mat")
    names = {key for key in info if not key.startswith("__")}
    assert names == {"tri", "point_buf", "tri_mask2", "keypoints", "frontmask2_idx", "skinmask"}
    for key in names:
        np.testing.assert_array_equal(made[key], info[key], strict=True)
    assert {key for key in made if not key.startswith("__")} == {
        *names,
        *BASIS_SIZES,
        "meanshape",
        "meantex",
    }


def test_the_public_codes_file_is_the_same_model(folder: Path, tmp_path: Path):
    """Its expression basis is float64; after reading, not a bit differs, nor the fingerprint."""
    made, model = convert(folder), loadmat(folder / "01_MorphableModel.mat")
    chosen = loadmat(folder / "BFM_front_idx.mat")["idx"].ravel() - 1
    where = loadmat(folder / "BFM_exp_idx.mat")["trimIndex"].astype(int).ravel()[chosen] - 1
    raw = np.fromfile(folder / "Exp_Pca.bin", "<f4", offset=4).reshape(67, -1)[1:].T
    sigma = np.array((folder / "std_exp.txt").read_text().split(), float)

    def rows(basis: np.ndarray, vertices: np.ndarray) -> np.ndarray:
        count = basis.shape[1]
        return basis.reshape(-1, 3, count)[vertices].reshape(-1, count)

    whole = {
        "idBase": rows((model["shapePC"] * model["shapeEV"].T / 1e5)[:, :80], where),
        "exBase": rows((raw * sigma / 1e5)[:, :64], chosen),
        "texBase": rows((model["texPC"] * model["texEV"].T)[:, :80], where),
    }
    assert whole["exBase"].dtype == np.float64
    public = tmp_path / "public" / TARGET
    public.parent.mkdir()
    savemat(public, {key: whole.get(key, made[key]) for key in made if key[0] != "_"})
    ours, theirs = read_bfm_model(folder / TARGET)[0], read_bfm_model(public)[0]
    assert ours.card == theirs.card
    for name in ("mean_shape", "identity_basis", "expression_basis", "albedo_basis"):
        np.testing.assert_array_equal(getattr(ours, name), getattr(theirs, name))


def test_double_precision_originals(folder: Path):
    """Files saved again by MATLAB in its default type."""
    expected = convert(folder)
    path = folder / "01_MorphableModel.mat"
    content = loadmat(path)
    savemat(path, {key: value.astype(float) for key, value in content.items() if key[0] != "_"})
    made = convert(folder)
    assert made["meanshape"].dtype == np.float64
    np.testing.assert_allclose(made["idBase"], expected["idBase"], rtol=1e-6)


def test_progress_is_shown(folder: Path, capsys: pytest.CaptureFixture[str]):
    convert(folder)
    shown = capsys.readouterr().err
    assert f"BFM09 to {TARGET}" in shown and "224/224" in shown


@pytest.mark.parametrize("earlier", [None, b"an earlier file"])
def test_a_failure_leaves_no_part_of_a_file(
    folder: Path, monkeypatch: pytest.MonkeyPatch, earlier: bytes | None
):
    def full_disk(file, arrays):
        file.write(b"a beginning")
        raise OSError(28, "No space left on device")

    if earlier:
        (folder / TARGET).write_bytes(earlier)
    before = sorted(path.name for path in folder.iterdir())
    monkeypatch.setattr(bfm_conversion, "savemat", full_disk)
    with pytest.raises(OSError, match="No space"):
        convert(folder)
    assert sorted(path.name for path in folder.iterdir()) == before
    if earlier:
        assert (folder / TARGET).read_bytes() == earlier


def test_two_conversions_at_once_do_no_harm(folder: Path):
    """As several processes that start a training together, on one machine or on a shared disk."""
    expected = convert(folder)
    before = sorted(path.name for path in folder.iterdir())
    with ThreadPoolExecutor(2) as pool:
        for run in [pool.submit(convert_bfm09, folder, folder / TARGET, SMALL) for _ in range(4)]:
            run.result()
    assert sorted(path.name for path in folder.iterdir()) == before
    made = loadmat(folder / TARGET)
    for key in BASIS_SIZES:
        np.testing.assert_array_equal(made[key], expected[key])


@pytest.mark.parametrize("source", SOURCE_FILES, ids=lambda source: source.name)
def test_a_missing_file_is_named_with_its_place(folder: Path, source):
    (folder / source.name).unlink()
    assert missing_sources(folder) == [source]
    with pytest.raises(InputError) as caught:
        convert(folder)
    assert f"{folder / source.name} does not exist" in str(caught.value)
    assert source.what in str(caught.value) and source.place in str(caught.value)
    assert not (folder / TARGET).exists()


MISTAKES = {
    "a web page": b"\xef\xbb\xbf \n<!DOCTYPE html><html><body>Quota exceeded</body></html>",
    "an HDF5 file (.h5)": b"\x89HDF\r\n\x1a\n" + bytes(500),
    "a MATLAB 7.3 file": b"MATLAB 7.3 MAT-file, Platform: GLNXA64" + bytes(500),
    "a Git LFS pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n",
    "a gzip archive": b"\x1f\x8b\x08\x00" + bytes(100),
    "a zip archive": b"PK\x03\x04" + bytes(100),
    "a tar archive": b"PublicMM1/".ljust(257, b"\0") + b"ustar" + bytes(300),
    "empty": b"",
}


@pytest.mark.parametrize("kind", MISTAKES)
@pytest.mark.parametrize("source", SOURCE_FILES, ids=lambda source: source.name)
def test_other_files_under_a_right_name_are_recognised(folder: Path, source, kind: str):
    (folder / source.name).write_bytes(MISTAKES[kind])
    with pytest.raises(InputError) as caught:
        convert(folder)
    assert f"{folder / source.name} is {kind}" in str(caught.value)
    assert source.place in str(caught.value)


def test_the_right_files_of_the_publishers_are_named():
    remedies = {source.name: source.remedy for source in SOURCE_FILES}
    identity, expression = remedies["01_MorphableModel.mat"], remedies["Exp_Pca.bin"]
    assert "PublicMM1/01_MorphableModel.mat inside BaselFaceModel.tgz" in identity
    assert "University of Basel" in identity and "2017" in identity and "2019" in identity
    assert "Coarse_Dataset.zip" in expression and "Guo et al." in expression
    sites = re.findall(r"\(([\w.-]+\.\w+(?:/[\w/-]+)?)\)", " ".join(remedies.values()))
    assert set(sites) == {
        "faces.dmi.unibas.ch",
        "github.com/Juyong/3DFace",
        "github.com/sicxu/Deep3DFaceRecon_pytorch",
    }


def test_published_sizes():
    """35,709 and 70,789 of the result come from the index files; these are checked here."""
    assert (BFM09_SIZES.vertices, BFM09_SIZES.components) == (53490, 199)
    assert (BFM09_SIZES.expression_vertices, BFM09_SIZES.expression_components) == (53215, 79)
    assert f"{4 + 4 * 3 * 53215 * (1 + 79):,} bytes" in EXPRESSION.what


def resave(
    name: str, change: Callable[[dict[str, np.ndarray]], object]
) -> Callable[[Path], object]:
    def apply(folder: Path) -> None:
        content = {k: v for k, v in loadmat(folder / name).items() if not k.startswith("__")}
        change(content)
        savemat(folder / name, content)

    return apply


def rewrite(name: str, change: Callable[[bytes], bytes]) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_bytes(change((folder / name).read_bytes()))


def copy(source: str, target: str) -> Callable[[Path], object]:
    return lambda folder: (folder / target).write_bytes((folder / source).read_bytes())


IDENTITY = "01_MorphableModel.mat"
SPOILT = {
    "truncated bin": (
        rewrite("Exp_Pca.bin", lambda content: content[:-1000]),
        r"Exp_Pca\.bin is cut short: 328644 bytes of 329644",
    ),
    "bin of three bytes": (
        rewrite("Exp_Pca.bin", lambda content: content[:3]),
        r"Exp_Pca\.bin is cut short: 3 bytes",
    ),
    "longer bin": (
        rewrite("Exp_Pca.bin", lambda content: content + b"more"),
        r"Exp_Pca\.bin is too long",
    ),
    "other bin": (
        rewrite("Exp_Pca.bin", lambda content: b"\x05\0\0\0" + content[4:]),
        r"Exp_Pca\.bin begins with 5, where the number of components should be 66",
    ),
    "garbage in the bin": (
        rewrite("Exp_Pca.bin", lambda content: content[:-9000] + b"\xff" * 9000),
        None,  # the last two components are not used
    ),
    "not finite numbers in the bin": (
        rewrite("Exp_Pca.bin", lambda content: content[:4] + b"\xff" * (len(content) - 4)),
        r"Exp_Pca\.bin is damaged \(numbers that are not finite",
    ),
    "truncated mat": (
        rewrite(IDENTITY, lambda content: content[: len(content) // 3]),
        r"01_MorphableModel\.mat is damaged, cut short .* bytes early\).*BaselFaceModel\.tgz",
    ),
    "text in place of a mat": (
        rewrite(IDENTITY, lambda content: b"0 1 2 3\n" * 100),
        r"01_MorphableModel\.mat is damaged, cut short or no MATLAB file",
    ),
    "fewer components": (
        resave(IDENTITY, lambda c: c.update(shapePC=c["shapePC"][:, :80])),
        r"01_MorphableModel\.mat: shapePC is \(1560, 80\), expected \(1560, 83\)",
    ),
    "another mesh": (
        resave(IDENTITY, lambda c: c.update(texMU=c["texMU"][:300])),
        r"texMU is \(300, 1\), expected \(1560, 1\)",
    ),
    "no texture": (
        resave(IDENTITY, lambda c: c.pop("texPC")),
        r"01_MorphableModel\.mat lacks the array texPC \(it holds shapeEV, shapeMU",
    ),
    "one file in place of the other": (
        copy("BFM_exp_idx.mat", "BFM_front_idx.mat"),
        r"BFM_front_idx\.mat lacks the array idx \(it holds trimIndex\)",
    ),
    "index from 0": (
        resave("BFM_front_idx.mat", lambda c: c.update(idx=c["idx"] * 0)),
        r"BFM_front_idx\.mat: idx must name vertices from 1 to 410",
    ),
    "no number in a mean": (
        resave(IDENTITY, lambda c: c.update(texMU=c["texMU"] * np.nan)),
        r"01_MorphableModel\.mat is damaged \(numbers that are not finite",
    ),
    "a mean beyond single precision": (
        resave(IDENTITY, lambda c: c.update(shapeMU=c["shapeMU"].astype(float) * 1e50)),
        r"01_MorphableModel\.mat is damaged \(numbers that are not finite",
    ),
    "words in the list of numbers": (
        rewrite("std_exp.txt", lambda content: b"1 2 many"),
        r"std_exp\.txt is no list of numbers",
    ),
    "bytes in the list of numbers": (
        rewrite("std_exp.txt", lambda content: b"1 2 \xff\xfe"),
        r"std_exp\.txt is no list of numbers",
    ),
    "too few numbers": (
        rewrite("std_exp.txt", lambda content: b"1 2 3"),
        r"std_exp\.txt holds 3 numbers, expected 66",
    ),
}


@pytest.mark.parametrize("case", SPOILT)
def test_damaged_and_other_files_are_named(folder: Path, case: str):
    spoil, message = SPOILT[case]
    spoil(folder)
    if message is None:
        convert(folder)
        return
    with pytest.raises(InputError, match=message):
        convert(folder)
    assert not (folder / TARGET).exists()


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_deviations_in_any_encoding(folder: Path, encoding: str):
    expected = convert(folder)
    path = folder / "std_exp.txt"
    path.write_text(path.read_text(encoding="utf-8"), encoding=encoding)
    np.testing.assert_array_equal(convert(folder)["exBase"], expected["exBase"])


def test_checking_needs_no_conversion(folder: Path):
    check_sources(folder, SMALL)
    with pytest.raises(InputError, match=r"shapeMU is \(1560, 1\), expected \(160470, 1\)"):
        check_sources(folder)  # the published sizes
    with pytest.raises(InputError, match="number of components should be 79"):
        check_sources(folder, replace(SMALL, expression_components=79))
    assert not (folder / TARGET).exists()


def info(**change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Path], object]:
    """Change arrays of facemodel_info.mat."""
    return resave(
        "facemodel_info.mat", lambda c: c.update({key: f(c[key]) for key, f in change.items()})
    )


UNFIT = {
    "shorter index": (
        resave("BFM_front_idx.mat", lambda c: c.update(idx=c["idx"][:-1])),
        r"BFM_front_idx\.mat chooses 223 vertices, but .*facemodel_info\.mat has 224; take both",
    ),
    "index beyond the expressions": (
        resave("BFM_front_idx.mat", lambda c: c.update(idx=c["idx"] + 400)),
        r"BFM_front_idx\.mat: idx must name vertices from 1 to 410",
    ),
    "index beyond the identities": (
        resave("BFM_exp_idx.mat", lambda c: c.update(trimIndex=c["trimIndex"] + 500)),
        r"BFM_exp_idx\.mat: trimIndex must name vertices from 1 to 520",
    ),
    "60 landmarks": (
        info(keypoints=lambda a: a[:, :60]),
        r"keypoints is \(1, 60\), expected \(1, 68\)",
    ),
    "landmarks from 0": (
        info(keypoints=lambda a: a * 0),
        r"keypoints must hold whole numbers from 1 to 224",
    ),
    "half a landmark": (
        info(keypoints=lambda a: a.astype(float) - 0.5),
        r"keypoints must hold whole numbers from 1 to 224",
    ),
    "mask of another mesh": (
        info(skinmask=lambda a: a[:, 1:]),
        r"skinmask is \(1, 223\), expected \(1, 224\)",
    ),
    "no number in the mask": (
        info(skinmask=lambda a: a * np.nan),
        r"skinmask holds numbers that are not finite",
    ),
    "seven triangles at a vertex": (
        info(point_buf=lambda a: a[:, :7]),
        r"point_buf is \(224, 7\), expected \(224, 8\)",
    ),
    "triangles that lie": (info(tri=lambda a: a.T), r"tri is \(3, (\d+)\), expected \(3, 3\)"),
    "triangles of another mesh": (
        info(tri=lambda a: a + 1),
        r"tri must hold whole numbers from 1 to 224",
    ),
    "a front of lines": (
        info(tri_mask2=lambda a: a[:, :2]),
        r"tri_mask2 is \((\d+), 2\), expected \(\1, 3\)",
    ),
    "no front": (
        info(frontmask2_idx=lambda a: a[:0]),
        r"frontmask2_idx must hold whole numbers from 1 to 224",
    ),
}


@pytest.mark.parametrize("case", UNFIT)
def test_what_does_not_fit_is_known_before_the_conversion(folder: Path, case: str):
    spoil, message = UNFIT[case]
    spoil(folder)
    with pytest.raises(InputError, match=message) as caught:
        check_sources(folder, SMALL)
    said = str(caught.value)
    assert "facemodel_info.mat is damaged or of another model" in said or "_idx.mat" in said
    assert "in the folder BFM of the public code" in said
    with pytest.raises(InputError, match=re.escape(said)):
        convert(folder)


@pytest.mark.parametrize(
    "content",
    [
        b"<!DOCTYPE html>",
        {"other": np.ones((68, 3))},
        {"lm": np.zeros((5, 3))},
        {"lm": np.full((68, 3), np.nan)},
    ],
    ids=["web page", "other", "five", "nan"],
)
def test_wrong_standard_landmarks_stop_it_at_the_start(
    folder: Path, content: bytes | dict[str, np.ndarray], capsys: pytest.CaptureFixture[str]
):
    """With the message of the reader, which would come only after the conversion."""
    convert(folder)
    capsys.readouterr()
    path = folder / "similarity_Lm3D_all.mat"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        savemat(path, content)
    with pytest.raises(InputError, match=r"similarity_Lm3D_all\.mat.*or remove it") as caught:
        read_bfm_model(folder / TARGET)
    (folder / TARGET).unlink()
    with pytest.raises(InputError, match=f"^{re.escape(str(caught.value))}$"):
        convert(folder)
    assert not (folder / TARGET).exists() and capsys.readouterr().err == ""
    path.unlink()  # it may be missing
    convert(folder)


def test_of_two_files_the_wrong_one_is_named(folder: Path):
    """The choice of vertices is held against the mesh, but only a sound one."""
    (folder / "facemodel_info.mat").write_bytes(b"<!DOCTYPE html>")
    check_source(folder, FRONT_INDEX, SMALL)
    with pytest.raises(InputError, match=r"facemodel_info\.mat is a web page"):
        check_sources(folder, SMALL)


def test_an_index_may_lie_or_stand(folder: Path):
    expected = convert(folder)
    for name, key in (("BFM_front_idx.mat", "idx"), ("BFM_exp_idx.mat", "trimIndex")):
        index = loadmat(folder / name)[key]
        savemat(folder / name, {key: index.T.astype(np.uint16)})
    np.testing.assert_array_equal(convert(folder)["idBase"], expected["idBase"])
