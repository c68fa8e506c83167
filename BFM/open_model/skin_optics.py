"""Colour of skin from its melanin and blood: a two-layer model, computed over the spectrum.

Light crosses the epidermis, which melanin dims (Beer-Lambert, twice), and is scattered back by
a deep dermis whose blood absorbs (Kubelka-Munk). Sources:

* Haemoglobin: S. Prahl's tables (omlc.org/spectra/hemoglobin) of measurements by Gratzer and
  Kollias, every fifth value.
* Bloodless skin, scattering of the dermis and melanosomes: S. L. Jacques, "Skin Optics", Oregon
  Medical Laser Center News, January 1998. His melanosomes absorb 6.6e11 wavelength^-3.33 per cm.
  That value is kept at 500 nm, but with his exponent this model's dark skin is more orange than
  it is measured, presumably because melanin lies in clumps and not as one layer.
  ``MELANIN_SLOPE``, the oxygen saturation and the surface's reflection are chosen so
  that colours follow measured CIELAB values from fair to dark.
* Colour matching: the multi-lobe fit of Wyman, Sloan, Shirley, JCGT 2(2), 2013; CIE D65.
"""

from __future__ import annotations

import numpy as np

WAVELENGTH_NM = np.arange(400.0, 701.0, 10.0)
# Molar extinction of oxygenated and deoxygenated haemoglobin, 1 / (cm M), and the relative
# power of daylight, at 400, 410, ... 700 nm.
# fmt: off
OXYGENATED = np.array(
    [266232, 466840, 480360, 246072, 102580, 62816, 44480, 33209.2, 26629.2, 23684.4, 20932.8,
     20035.2, 24202.4, 39956.8, 53236, 43016, 32613.2, 44496, 50104, 14400.8, 3200, 1506, 942,
     610, 442, 368, 319.6, 294, 277.6, 276, 290]
)
DEOXYGENATED = np.array(
    [223296, 303956, 407560, 528600, 413280, 103292, 23388.8, 16156.4, 14550, 16684, 20862,
     25773.6, 31589.6, 39036.4, 46592, 53412, 53788, 45072, 37020, 28324.4, 14677.2, 9443.6,
     6509.6, 5148.8, 4345.2, 3750.12, 3226.56, 2795.12, 2407.92, 2051.96, 1794.28]
)
DAYLIGHT = np.array(
    [82.8, 91.5, 93.4, 86.7, 104.9, 117.0, 117.8, 114.9, 115.9, 108.8, 109.4, 107.8, 104.8, 107.7,
     104.4, 104.0, 100.0, 96.3, 95.8, 88.7, 90.0, 89.6, 87.7, 83.3, 83.7, 80.0, 80.2, 82.3,
     78.3, 69.7, 71.6]
)
# fmt: on
OXYGEN_SATURATION = 0.6
BLOOD_PER_EXTINCTION = 2.303 * 150 / 64500  # 150 g/l of haemoglobin at 64500 g/mol
EPIDERMIS_CM = 0.006
SURFACE_REFLECTION = 0.045
MELANOSOME_AT_500_NM = 6.6e11 * 500**-3.33
MELANIN_SLOPE = 2.7
XYZ_TO_SRGB = np.array(
    [[3.2406, -1.5372, -0.4986], [-0.9689, 1.8758, 0.0415], [0.0557, -0.2040, 1.0570]]
)
# The tabulated range: fraction of the epidermis that is melanosomes, of the dermis that is blood.
MELANIN_RANGE, BLOOD_RANGE = (0.003, 0.6), (0.002, 0.6)
TABLE_SIZE = (64, 48)


def skin_reflectance(melanin: np.ndarray, blood: np.ndarray) -> np.ndarray:
    """Spectral reflectance of skin.

    Kubelka-Munk: an infinitely deep layer that absorbs K = 2 mu_a and scatters S = 3/4 mu_s'
    reflects R = 1 + K/S - sqrt((K/S)^2 + 2 K/S).

    Args:
        melanin: (...,) volume fraction of melanosomes in the epidermis.
        blood: (...,) volume fraction of blood in the dermis.

    Returns:
        (..., 31) reflectance at ``WAVELENGTH_NM``.
    """
    wavelength = WAVELENGTH_NM
    melanin, blood = np.asarray(melanin)[..., None], np.asarray(blood)[..., None]
    baseline = 0.244 + 85.3 * np.exp(-(wavelength - 154) / 66.2)
    melanosome = MELANOSOME_AT_500_NM * (wavelength / 500) ** -MELANIN_SLOPE
    epidermis = melanin * melanosome + (1 - melanin) * baseline
    transmission = np.exp(-2 * EPIDERMIS_CM * epidermis)

    extinction = OXYGEN_SATURATION * OXYGENATED + (1 - OXYGEN_SATURATION) * DEOXYGENATED
    dermis = blood * extinction * BLOOD_PER_EXTINCTION + (1 - blood) * baseline
    scattering = 2e5 * wavelength**-1.5 + 2e12 * wavelength**-4.0
    ratio = 2 * dermis / (0.75 * scattering)
    diffuse = 1 + ratio - np.sqrt(ratio**2 + 2 * ratio)
    return SURFACE_REFLECTION + (1 - SURFACE_REFLECTION) * transmission * diffuse


def srgb_of_reflectance(reflectance: np.ndarray) -> np.ndarray:
    """sRGB-encoded colours (..., 3) in [0, 1] of spectra (..., 31) under daylight.

    A white surface gives (1, 1, 1).
    """
    matching = _colour_matching(WAVELENGTH_NM)
    weights = (DAYLIGHT[:, None] * matching) @ XYZ_TO_SRGB.T
    linear = np.clip(reflectance @ (weights / weights.sum(axis=0)), 0, 1)
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


def cielab(srgb: np.ndarray) -> np.ndarray:
    """CIE 1976 L*, a*, b* (..., 3) of sRGB-encoded colours (..., 3) in [0, 1], white (1, 1, 1)."""
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    to_xyz = np.linalg.inv(XYZ_TO_SRGB).T
    share = (linear @ to_xyz) / to_xyz.sum(axis=0)
    root = np.where(share > 216 / 24389, np.cbrt(share), (24389 / 27 * share + 16) / 116)
    x, y, z = np.moveaxis(root, -1, 0)
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


def typology_angle(lab: np.ndarray) -> np.ndarray:
    """Individual typology angle (...,) in degrees of CIELAB colours (..., 3).

    Above 55 very light, 41 light, 28 intermediate, 10 tan, -30 brown, below dark (Chardon et al.,
    1991).
    """
    return np.degrees(np.arctan2(lab[..., 0] - 50, lab[..., 2]))


class SkinColour:
    """Table from (log melanin, log blood) to sRGB, looked up bilinearly."""

    def __init__(self) -> None:
        self._axes = [
            np.linspace(np.log(low), np.log(high), size)
            for (low, high), size in zip((MELANIN_RANGE, BLOOD_RANGE), TABLE_SIZE, strict=True)
        ]
        melanin, blood = np.meshgrid(*(np.exp(axis) for axis in self._axes), indexing="ij")
        self._table = srgb_of_reflectance(skin_reflectance(melanin, blood))

    def __call__(self, log_melanin: np.ndarray, log_blood: np.ndarray) -> np.ndarray:
        """Colours (..., 3) of equally shaped natural logarithms of the fractions (clamped)."""
        index, fraction = [], []
        for value, axis in zip((log_melanin, log_blood), self._axes, strict=True):
            place = (value - axis[0]) / (axis[1] - axis[0])
            place = np.clip(place, 0, len(axis) - 1.001)
            index.append(place.astype(int))
            fraction.append((place - index[-1])[..., None])
        (i, j), (u, v) = index, fraction
        table = self._table
        low = table[i, j] * (1 - v) + table[i, j + 1] * v
        high = table[i + 1, j] * (1 - v) + table[i + 1, j + 1] * v
        return low * (1 - u) + high * u


def _colour_matching(wavelength: np.ndarray) -> np.ndarray:
    """CIE 1931 x, y, z (N, 3), as sums of one-sided Gaussians (Wyman et al., section 2.2)."""

    def lobe(centre: float, left: float, right: float) -> np.ndarray:
        width = np.where(wavelength < centre, left, right)
        return np.exp(-0.5 * ((wavelength - centre) / width) ** 2)

    x = 1.056 * lobe(599.8, 37.9, 31.0) + 0.362 * lobe(442.0, 16.0, 26.7)
    x -= 0.065 * lobe(501.1, 20.4, 26.2)
    y = 0.821 * lobe(568.8, 46.9, 40.5) + 0.286 * lobe(530.9, 16.3, 31.1)
    z = 1.217 * lobe(437.0, 11.8, 36.0) + 0.681 * lobe(459.0, 26.0, 13.8)
    return np.stack([x, y, z], axis=1)
