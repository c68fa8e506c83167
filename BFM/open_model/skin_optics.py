"""Colour of skin from its melanin and blood: a two-layer model, computed over the spectrum.

Light crosses the epidermis, which melanin dims (Beer-Lambert, twice), and is scattered back by
a deep dermis whose blood absorbs (Kubelka-Munk). Absorption laws: S. L. Jacques, "Optical
properties of biological tissues: a review", Phys. Med. Biol. 58 (2013), and his skin optics
summary (1998) for melanin, 6.6e11 wavelength^-3.33 per cm of melanosome. Haemoglobin: S. Prahl's
compilation of Gratzer's and Kollias's measurements, rounded to what colour needs. Colour matching:
the multi-lobe fit of Wyman, Sloan, Shirley, JCGT 2(2), 2013. Illuminant: CIE D65.
"""

from __future__ import annotations

import numpy as np

WAVELENGTH_NM = np.arange(400.0, 701.0, 10.0)
# Molar extinction of oxygenated and deoxygenated haemoglobin, 1000 / (cm M), and the relative
# power of daylight, at 400, 410, ... 700 nm.
# fmt: off
OXYGENATED = 1e3 * np.array(
    [266.2, 466.8, 480.4, 246.1, 102.6, 62.8, 44.5, 33.2, 26.6, 23.7, 20.9, 20.0, 24.2, 40.0, 53.2,
     43.0, 32.6, 44.5, 50.1, 14.4, 3.20, 1.51, 0.94, 0.61, 0.44, 0.37, 0.32, 0.29, 0.28, 0.28,
     0.29]
)
DEOXYGENATED = 1e3 * np.array(
    [223.3, 304.0, 407.6, 528.6, 413.3, 103.3, 23.4, 16.2, 14.6, 16.7, 20.9, 25.8, 31.6, 39.0, 46.6,
     53.4, 53.8, 45.1, 37.0, 28.3, 14.7, 9.44, 6.51, 5.15, 4.35, 3.75, 3.23, 2.80, 2.41, 2.05,
     1.79]
)
DAYLIGHT = np.array(
    [82.8, 91.5, 93.4, 86.7, 104.9, 117.0, 117.8, 114.9, 115.9, 108.8, 109.4, 107.8, 104.8, 107.7,
     104.4, 104.0, 100.0, 96.3, 95.8, 88.7, 90.0, 89.6, 87.7, 83.3, 83.7, 80.0, 80.2, 82.3,
     78.3, 69.7, 71.6]
)
# fmt: on
OXYGEN_SATURATION = 0.75
BLOOD_PER_EXTINCTION = 2.303 * 150 / 64500  # 150 g/l of haemoglobin at 64500 g/mol
EPIDERMIS_CM = 0.006
SURFACE_REFLECTION = 0.03
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
    melanosome = 6.6e11 * wavelength**-3.33
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
