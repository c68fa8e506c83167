"""The crop against the public rule, written out plainly, and the exactness of its matrices."""

import numpy as np
import pytest
from PIL import Image

from data.alignment import Alignment, align_face, pos
from data.images import read_image, write_image
from data.landmarks import five_from_68
from util.errors import InputError


def public_rule(image: np.ndarray, landmarks: np.ndarray, standard: np.ndarray):
    """Resize everything, then crop; the (2n, 8) system; y up. Returns crop and landmarks, y down.

    The two axes are resized in turn: versions of Pillow differ in their order, and so by one level.
    """
    height, width = image.shape[:2]
    points = landmarks.astype(np.float32)
    points[:, 1] = height - 1 - points[:, 1]
    five = five_from_68(points)
    system = np.zeros((10, 8))
    for k in range(5):
        system[2 * k, :4] = [*standard[k], 1]
        system[2 * k + 1, 4:] = [*standard[k], 1]
    solution = np.linalg.lstsq(system, five.reshape(-1), rcond=None)[0]
    row_x, shift_x, row_y, shift_y = solution[:3], solution[3], solution[4:7], solution[7]
    scale = 102.0 / ((np.linalg.norm(row_x) + np.linalg.norm(row_y)) / 2)

    w, h = int(width * scale), int(height * scale)
    left = int(w / 2 - 112 + (shift_x - width / 2) * scale)
    top = int(h / 2 - 112 + (height / 2 - shift_y) * scale)
    resized = Image.fromarray(image).resize((w, height), Image.Resampling.BICUBIC)
    resized = resized.resize((w, h), Image.Resampling.BICUBIC)
    crop = np.asarray(resized.crop((left, top, left + 224, top + 224)))

    x = (points[:, 0] - shift_x + width / 2) * scale - (w / 2 - 112)
    y = (points[:, 1] - shift_y + height / 2) * scale - (h / 2 - 112)
    return crop, np.stack([x, 223 - y], axis=1)


# Scales of the photo: simple fractions, for which much of the crop lies on the edge of rounding,
# enlargements, reductions.
@pytest.mark.parametrize("zoom", [0.25, 0.5, 0.77, 1.0, 1.5, 2.0, 3.1])
def test_equals_resizing_everything(zoom, astronaut, astronaut_landmarks, standard_points) -> None:
    height, width = astronaut.shape[:2]
    size = (round(width * zoom), round(height * zoom * 1.1))
    photo = np.asarray(Image.fromarray(astronaut).resize(size, Image.Resampling.BICUBIC))
    landmarks = astronaut_landmarks * [size[0] / width, size[1] / height]
    expected, expected_landmarks = public_rule(photo, landmarks, standard_points)
    face = align_face(photo, landmarks, standard_points)
    difference = np.abs(face.image.astype(int) - expected)
    assert difference.max() <= 1
    assert (difference > 0).mean() < 2e-3
    assert face.landmarks is not None
    np.testing.assert_allclose(face.landmarks, expected_landmarks, atol=1e-3)


def test_simple_ratios_are_exact() -> None:
    """2:3 and 3:2: the window has whole ends there, and not one pixel differs."""
    photo = np.random.default_rng(0).integers(0, 256, (300, 360, 3), dtype=np.uint8)
    for scale in (1.5, 0.5, 2 / 3 + 1e-9, 0.75):
        w, h = int(360 * scale), int(300 * scale)
        whole = Image.fromarray(photo).resize((w, 300), Image.Resampling.BICUBIC)
        whole = whole.resize((w, h), Image.Resampling.BICUBIC)
        for left, top in ((-50, -40), (3, 7), (w - 150, h - 170)):
            alignment = Alignment((360, 300), scale, (0.0, 0.0), (w, h), left, top)
            expected = np.asarray(whole.crop((left, top, left + 224, top + 224)))
            np.testing.assert_array_equal(alignment.cut(photo), expected)


def test_outside_of_the_photo_is_black(astronaut, astronaut_landmarks, standard_points) -> None:
    x0, y0 = np.floor(astronaut_landmarks.min(0)).astype(int)
    photo = np.maximum(astronaut[y0:, x0:], 1)
    face = align_face(photo, astronaut_landmarks - [x0, y0], standard_points)
    left, top = face.alignment.left, face.alignment.top
    assert left < 0
    assert top < 0
    assert (face.image[:, :-left] == 0).all()
    assert (face.image[:-top] == 0).all()
    assert (face.image[-top, -left:].max(axis=1) > 0).mean() > 0.9


def test_masks_go_the_same_way(astronaut, astronaut_landmarks, standard_points) -> None:
    mask = astronaut[..., 1].copy()
    face = align_face(astronaut, astronaut_landmarks, standard_points, mask)
    assert face.mask is not None
    np.testing.assert_array_equal(face.mask, face.image[..., 1])


def test_a_mask_of_another_size_is_refused(astronaut, astronaut_landmarks, standard_points) -> None:
    with pytest.raises(InputError, match="mask is 512 x 100 pixels, its image 512 x 512"):
        align_face(astronaut, astronaut_landmarks, standard_points, astronaut[:100, :, 0])


def test_five_points_place_the_face_as_68_do(
    astronaut, astronaut_landmarks, standard_points
) -> None:
    five = five_from_68(astronaut_landmarks)
    face = align_face(astronaut, five, standard_points)
    np.testing.assert_array_equal(
        face.image, align_face(astronaut, astronaut_landmarks, standard_points).image
    )
    assert face.landmarks is None
    # The eyes lie where POS puts them: 102 px a decimetre around the middle of the crop.
    moved = face.alignment.crop_landmarks(five)
    expected = 112 + 102 * standard_points[:, :2] * [1, -1]
    assert np.abs(moved - expected).max() < 14


def test_pos_recovers_a_scaled_orthographic_pose(standard_points) -> None:
    angle = 0.4
    rotation = np.array(
        [[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]]
    )
    scale, shift = 37.5, np.array([210.0, -14.0])
    points = scale * (standard_points @ rotation.T)[:, :2] + shift
    found_scale, found_shift = pos(points, standard_points)
    assert found_scale == pytest.approx(scale, rel=1e-10)
    np.testing.assert_allclose(found_shift, shift, atol=1e-9)


def test_matrix_moves_points_as_the_image_moves(tmp_path, standard_points) -> None:
    """A bright dot in the photo turns up where the matrix says."""
    rng = np.random.default_rng(3)
    for _ in range(10):
        scale = rng.uniform(0.4, 1.6)
        size = (int(rng.integers(300, 500)), int(rng.integers(300, 500)))
        resized = (int(size[0] * scale), int(size[1] * scale))
        left, top = int(resized[0] / 2 - 112), int(resized[1] / 2 - 112)
        alignment = Alignment(size, scale, (0.0, 0.0), resized, left, top)
        column, row = size[0] // 2 + 7, size[1] // 2 - 11
        photo = np.zeros((size[1], size[0]), np.uint8)
        photo[row - 3 : row + 4, column - 3 : column + 4] = 255  # wide enough to be sampled evenly
        crop = alignment.cut(photo).astype(float)
        rows, columns = np.indices(crop.shape) + 0.5
        centre = np.array([(columns * crop).sum(), (rows * crop).sum()]) / crop.sum()
        expected = alignment.matrix @ [column + 0.5, row + 0.5, 1]
        np.testing.assert_allclose(centre, expected, atol=0.05)
        exact = alignment.crop_landmarks(np.array([[column, row]], float), exact=True)
        np.testing.assert_allclose(exact[0] + 0.5, expected)


def test_inverse_matrix(astronaut, astronaut_landmarks, standard_points) -> None:
    alignment = align_face(astronaut, astronaut_landmarks, standard_points).alignment
    there, back = (np.vstack([m, [0, 0, 1]]) for m in (alignment.matrix, alignment.inverse_matrix))
    np.testing.assert_allclose(there @ back, np.eye(3), atol=1e-12)


def test_public_and_exact_landmarks_differ_by_truncation_only(
    astronaut, astronaut_landmarks, standard_points
) -> None:
    alignment = align_face(astronaut, astronaut_landmarks, standard_points).alignment
    public = alignment.crop_landmarks(astronaut_landmarks)
    exact = alignment.crop_landmarks(astronaut_landmarks, exact=True)
    # Index rows count from the other end in the public rule: up to one pixel more in y.
    assert np.abs(public - exact)[:, 0].max() < 1.5
    assert np.abs(public - exact)[:, 1].max() < 2.5


@pytest.mark.parametrize(
    "points",
    [
        np.full((5, 2), 100.0),
        np.array([[80.0, 100], [130, 100], [105, 100], [85, 100], [125, 100]]),
        np.array([[80.0, 90], [130, 90], [np.nan, 118], [85, 140], [125, 140]]),
    ],
)
def test_degenerate_landmarks(points, astronaut, standard_points) -> None:
    with pytest.raises(InputError, match=r"landmarks .* cannot be aligned"):
        align_face(astronaut, points, standard_points)


def test_landmarks_of_another_photo(astronaut, astronaut_landmarks, standard_points) -> None:
    with pytest.raises(InputError, match="outside of the photo of 512 x 512"):
        align_face(astronaut, astronaut_landmarks + 2000.0, standard_points)


def test_rotated_photo_gives_the_same_crop(
    tmp_path, astronaut, astronaut_landmarks, standard_points
) -> None:
    """A photo stored on its side with an EXIF orientation."""
    exif = Image.Exif()
    exif[0x0112] = 6
    sideways = np.ascontiguousarray(np.rot90(astronaut, 1))
    Image.fromarray(sideways).save(tmp_path / "side.png", exif=exif)
    write_image(tmp_path / "up.png", astronaut)
    crops = [
        align_face(read_image(tmp_path / name), astronaut_landmarks, standard_points).image
        for name in ("side.png", "up.png")
    ]
    np.testing.assert_array_equal(crops[0], crops[1])
