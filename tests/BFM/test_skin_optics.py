"""Colour of skin: the optics' tables, CIELAB, and the tones that come of them."""

from __future__ import annotations

import numpy as np
import pytest

from BFM.open_model.skin_optics import (
    DEOXYGENATED,
    OXYGENATED,
    WAVELENGTH_NM,
    SkinColour,
    cielab,
    skin_reflectance,
    srgb_of_reflectance,
    typology_angle,
)


def test_haemoglobin_has_the_bands_that_it_is_known_by():
    between = (WAVELENGTH_NM >= 500) & (WAVELENGTH_NM <= 600)
    # Oxygenated blood absorbs at 540 and 577 nm with a gap between, venous blood once, at 555.
    near = OXYGENATED[np.isin(WAVELENGTH_NM, (540, 560, 580))]
    assert near[1] < 0.7 * min(near[0], near[2])
    assert WAVELENGTH_NM[between][DEOXYGENATED[between].argmax()] in (550, 560)
    # Isosbestic points near 500 and 570 nm; red light passes oxygenated blood only.
    ratio = OXYGENATED / DEOXYGENATED
    for place in (500, 570):
        assert ratio[place == WAVELENGTH_NM] == pytest.approx(1, abs=0.03)
    assert ratio[WAVELENGTH_NM == 660] < 0.11


def test_cielab_of_known_colours():
    colours = np.array([[1, 1, 1], [0, 0, 0], [1, 0, 0], [0.5, 0.5, 0.5]])
    expected = [[100, 0, 0], [0, 0, 0], [53.24, 80.09, 67.2], [53.39, 0, 0]]
    np.testing.assert_allclose(cielab(colours), expected, atol=0.15)


def test_typology_angle_of_its_definition():
    assert typology_angle(np.array([60.0, 12.0, 10.0])) == pytest.approx(45)
    assert typology_angle(np.array([40.0, 12.0, 10.0])) == pytest.approx(-45)


def test_white_reflects_white():
    np.testing.assert_allclose(srgb_of_reflectance(np.ones(31)), 1, atol=1e-6)


def test_melanin_darkens_and_blood_reddens():
    steps = np.geomspace(0.02, 0.3, 12)
    melanin = cielab(srgb_of_reflectance(skin_reflectance(steps, np.full(12, 0.03))))
    assert (np.diff(melanin[:, 0]) < 0).all()
    blood = cielab(srgb_of_reflectance(skin_reflectance(np.full(12, 0.05), steps / 3)))
    assert (np.diff(blood[:, 1]) > 0).all()


# (L*, a*, b*) ranges that spectrophotometers read on foreheads and cheeks, from fair to dark; see
# OPEN_MODEL.md for the publications.
@pytest.mark.parametrize(
    ("melanin", "lightness", "low", "high"),
    [
        (0.03, (64, 70), (8, 9), (14, 17)),
        (0.07, (58, 65), (9, 13), (16, 20)),
        (0.14, (49, 57), (10, 14), (18, 23)),
        (0.30, (36, 44), (9, 12), (17, 21)),
    ],
)
def test_tones_follow_measured_skin(melanin, lightness, low, high):
    tone = cielab(srgb_of_reflectance(skin_reflectance(np.array(melanin), np.array(0.03))))
    assert lightness[0] < tone[0] < lightness[1], tone
    assert low[0] < tone[1] < high[0], tone
    assert low[1] < tone[2] < high[1], tone


def test_the_table_is_the_formula():
    rng = np.random.default_rng(0)
    melanin, blood = rng.uniform(-4.5, -1.2, 50), rng.uniform(-5, -1.5, 50)
    exact = srgb_of_reflectance(skin_reflectance(np.exp(melanin), np.exp(blood)))
    np.testing.assert_allclose(SkinColour()(melanin, blood), exact, atol=2e-3)
