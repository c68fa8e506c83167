"""Draws random adults as far as colour goes: skin, hair, eyes, age, and what is painted on them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# sRGB palettes; hair and iris from dark to light, as melanin falls.
HAIR = np.array([[24, 19, 17], [40, 29, 23], [66, 45, 31], [100, 69, 42], [146, 108, 66]]) / 255
GREY_HAIR = np.array([152, 148, 144]) / 255
IRIS = np.array([[67, 50, 41], [89, 67, 52], [103, 91, 75], [101, 109, 106], [99, 123, 143]]) / 255
# Melanosomes in the epidermis and blood in the dermis, volume fractions: median and deviation of
# the logarithm. All tones of the world, the middle between the averages of Europe and East Asia
# and those of South Asia.
MELANIN_MEDIAN, MELANIN_SIGMA, MELANIN_RANGE = 0.072, 0.76, (0.015, 0.42)
BLOOD_MEDIAN, BLOOD_SIGMA = 0.027, 0.24
# Opacity of moustache and chin, and of the cheeks: full beard, goatee.
BEARD_STYLES = np.array([[1.0, 0.95], [1.0, 0.12]])
BEARD_SHARE = 0.14  # of the men


@dataclass(frozen=True)
class Person:
    """What decides one person's colours.

    Attributes:
        melanin, blood: natural logarithms of the fractions of melanosomes and blood.
        field_melanin, field_blood: coefficients (W,) of the smooth fields, of deviation 1.
        unevenness: factor on the fields.
        flush: (4,) factor on the redness of cheeks, nose, chin and ears.
        dark_circles: strength of the hollows below the eyes.
        lip_blood, lip_melanin: added to the logarithms on the lips.
        lip_edge: how far the lips are red, as a share; thin lips of the old are less.
        hair, brow_hair, iris: (3,) colours.
        brow, brow_fringe: opacity of the hairs of the brows.
        lashes: opacity of the lashes.
        stubble, moustache_chin, cheek_beard: opacity of what grows there.
        scalp: opacity of the shaved hair on the scalp.
        freckles, age_spots, wrinkles: amounts in [0, 1] and a little beyond.
        moles: (3,) amounts of three sets of moles, most of them 0.
        veins: redness of the sclera in [0, 1].
        yellow: yellowing of the sclera in [0, 1].
        age: 0 at 20 years, 1 at 80.
        male: whether a man.
    """

    melanin: float
    blood: float
    field_melanin: np.ndarray
    field_blood: np.ndarray
    unevenness: float
    flush: np.ndarray
    dark_circles: float
    lip_blood: float
    lip_melanin: float
    lip_edge: float
    hair: np.ndarray
    brow_hair: np.ndarray
    iris: np.ndarray
    brow: float
    brow_fringe: float
    lashes: float
    stubble: float
    moustache_chin: float
    cheek_beard: float
    scalp: float
    freckles: float
    moles: np.ndarray
    age_spots: float
    wrinkles: float
    veins: float
    yellow: float
    age: float
    male: bool


def random_person(waves: int, rng: np.random.Generator) -> Person:
    """Draws a person; dark skin goes with dark hair and brown eyes, as in populations.

    Args:
        waves: how many coefficients the smooth fields have.
        rng: source of randomness.
    """
    male = bool(rng.random() < 0.5)
    age = float(rng.beta(1.15, 1.7))
    low, high = np.log(MELANIN_RANGE)
    # Men are a little darker and ruddier.
    melanin = rng.normal(np.log(MELANIN_MEDIAN) + (0.05 if male else -0.05), MELANIN_SIGMA)
    melanin = float(np.clip(melanin, low, high))
    blood = float(rng.normal(np.log(BLOOD_MEDIAN) + (0.06 if male else -0.06), BLOOD_SIGMA))
    fair = float(np.clip((np.log(0.08) - melanin) / 1.6, 0, 1))

    shade = np.clip(fair * rng.beta(1.3, 2.0) + rng.normal(0, 0.03), 0, 1)
    hair = palette(HAIR, shade)
    grey = float(np.clip(rng.normal(1.5 * age - 0.75, 0.15), 0, 0.75))
    # Brows turn grey later than hair and beard.
    brow_hair = (1 - 0.45 * grey) * hair + 0.45 * grey * GREY_HAIR
    hair = (1 - grey) * hair + grey * GREY_HAIR
    # Chosen so that one in ten has grey or blue eyes, and one in 27 blue ones.
    iris = (0.25 + 0.95 * np.sqrt(fair)) * rng.beta(0.7, 0.7) + rng.normal(0, 0.04)

    stubble = float(0.36 * rng.beta(1.0, 5.0)) if male else 0.0
    beard = np.zeros(2)
    if male and rng.random() < BEARD_SHARE:
        beard = rng.uniform(0.4, 0.85) * BEARD_STYLES[int(rng.random() < 0.35)]
        stubble = max(stubble, 0.25)
    return Person(
        melanin=melanin,
        blood=blood,
        field_melanin=rng.normal(size=waves),
        field_blood=rng.normal(size=waves),
        unevenness=0.75 + 0.8 * age,
        flush=np.clip(rng.normal(1.0, 0.5) + rng.normal(0, 0.3, 4), -0.3, 2.8),
        dark_circles=float(rng.normal(1.0, 0.6) + 0.4 * age),
        lip_blood=float(rng.normal(1.0 if male else 1.2, 0.25) - 0.35 * age),
        lip_melanin=float(rng.normal(-0.25 + 0.35 * (1 - fair), 0.12)),
        lip_edge=float(np.clip(rng.normal(1.0, 0.1) - 0.25 * age, 0.55, 1.1)),
        hair=hair,
        brow_hair=brow_hair,
        iris=palette(IRIS, np.clip(iris, 0, 1)),
        brow=float(np.clip(rng.normal(0.92 if male else 0.86, 0.08) - 0.12 * age, 0.45, 1)),
        brow_fringe=float(np.clip(rng.normal(0.62 if male else 0.18, 0.25), 0, 1)),
        lashes=float(np.clip(rng.normal(0.55 if male else 0.78, 0.12) - 0.15 * age, 0.2, 1)),
        stubble=stubble,
        moustache_chin=float(beard[0]),
        cheek_beard=float(beard[1]),
        scalp=float(np.clip(rng.normal(0.3 if male else 0.36, 0.1) - 0.1 * age, 0.05, 0.6)),
        freckles=float(np.clip(rng.gamma(0.9, 0.33) * (0.35 + 0.9 * fair), 0, 1.3)),
        moles=np.clip(rng.normal(-0.1, 0.55, 3), 0, 1.2),
        age_spots=float(np.clip(rng.normal(1.25 * age - 0.3, 0.15), 0, 1)),
        wrinkles=float(np.clip(rng.normal(1.45 * age - 0.28, 0.1), 0.0, 1.2)),
        veins=float(np.clip(rng.beta(1.5, 3) + 0.2 * age, 0, 1)),
        yellow=float(np.clip(rng.normal(0.25 + 0.35 * age + 0.2 * (1 - fair), 0.12), 0, 1)),
        age=age,
        male=male,
    )


def palette(colours: np.ndarray, place: float) -> np.ndarray:
    """Colour (3,) at ``place`` in [0, 1] along a palette (N, 3)."""
    knots = np.linspace(0, 1, len(colours))
    return np.array([np.interp(place, knots, colours[:, i]) for i in range(3)])
