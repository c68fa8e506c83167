"""Which landmarks count, in the same order for `test.py` and for the preparation."""

from pathlib import Path

import numpy as np
import pytest

from data.images import read_image, write_image
from data.landmarks import five_from_68, read_landmarks, write_landmarks
from data.photo_folder import PhotoFolder
from data.photo_landmarks import choose_landmarks, read_checked
from data.preparation import PhotoFiles, prepare_photo
from tests.given_faces import GivenFaces
from util.errors import InputError


def told(landmarks: np.ndarray) -> GivenFaces:
    """A detector whose results say where they come from: 2 px to the right, or 4 px."""
    return GivenFaces(landmarks + np.array([2, 0]), marked=landmarks + np.array([4, 0]))


@pytest.fixture(scope="module")
def face(astronaut, astronaut_landmarks):
    """(image, landmarks): the head alone."""
    return np.ascontiguousarray(astronaut[:256, 100:340]), astronaut_landmarks - [100, 0]


@pytest.mark.parametrize(
    ("in_landmarks", "in_detections", "shift"),
    [(68, None, 0), (68, 5, 0), (68, 68, 0), (None, 68, 1), (None, 5, 4), (None, None, 2)],
)
def test_both_commands_choose_alike(
    tmp_path: Path, face, standard_points, in_landmarks, in_detections, shift
) -> None:
    """Landmarks as they are, given points 1 px to the right."""
    image, landmarks = face
    detector = told(landmarks)
    write_image(tmp_path / "a.png", image)
    if in_landmarks:
        write_landmarks(tmp_path / "landmarks" / "a.txt", landmarks)
    if in_detections:
        given = landmarks + np.array([1, 0])
        given = five_from_68(given) if in_detections == 5 else given
        write_landmarks(tmp_path / "detections" / "a.txt", given)
    (aligned,) = PhotoFolder(tmp_path, standard_points, detector)[0].faces
    expected = aligned.face.alignment.crop_landmarks(landmarks + np.array([shift, 0]), exact=True)
    np.testing.assert_allclose(aligned.landmarks, expected, atol=1e-3)
    assert prepare_photo(PhotoFiles(tmp_path / "a.png", "a"), detector) is None
    found = read_landmarks(tmp_path / "landmarks" / "a.txt")
    np.testing.assert_allclose(found, landmarks + np.array([shift, 0]), atol=1e-4)


def test_no_face_is_no_landmarks(tmp_path: Path, face, standard_points) -> None:
    image, _ = face
    detector = GivenFaces()
    assert choose_landmarks(image, None, None, detector) is None
    write_image(tmp_path / "a.png", image)
    photo = PhotoFolder(tmp_path, standard_points, detector)[0]
    assert not photo.faces
    problem = photo.failures[0].problem
    assert "--detection_upsample (2 or 3)" in problem
    assert problem.endswith(f"five points in {tmp_path / 'detections' / 'a.txt'}")
    failure = prepare_photo(PhotoFiles(tmp_path / "a.png", "a"), detector)
    assert failure is not None and failure.kind == "no face"


def test_five_points_in_landmarks_serve_but_are_never_overwritten(
    tmp_path: Path, face, standard_points
) -> None:
    image, landmarks = face
    detector = told(landmarks)
    write_image(tmp_path / "a.png", image)
    path = tmp_path / "landmarks" / "a.txt"
    write_landmarks(path, five_from_68(landmarks))
    before = path.read_bytes()
    assert PhotoFolder(tmp_path, standard_points, detector)[0].faces
    failure = prepare_photo(PhotoFiles(tmp_path / "a.png", "a"), detector)
    assert failure is not None and "holds 5 points; expected 68" in failure.reason
    assert path.read_bytes() == before


def test_files_are_checked(tmp_path: Path, face) -> None:
    image, landmarks = face
    assert read_checked(tmp_path / "a.txt", image.shape) is None
    write_landmarks(tmp_path / "a.txt", landmarks + np.array([4000, 0]))
    with pytest.raises(InputError, match=r"a\.txt: .* far outside"):
        read_checked(tmp_path / "a.txt", image.shape)


def test_powershell_writes_utf_16(tmp_path: Path, face) -> None:
    """As `... > a.txt` in Windows' PowerShell: UTF-16 with a byte-order mark, CR LF."""
    image, landmarks = face
    text = "".join(f"{x} {y}\r\n" for x, y in landmarks)
    (tmp_path / "a.txt").write_bytes(text.encode("utf-16"))
    found = read_checked(tmp_path / "a.txt", read_image(_saved(tmp_path, image)).shape)
    assert found is not None
    np.testing.assert_array_equal(found, landmarks)


def _saved(folder: Path, image: np.ndarray) -> Path:
    write_image(folder / "a.png", image)
    return folder / "a.png"
