"""People, their components and the weights of the fine maps."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest
import torch

from BFM.open_model.albedo import (
    LASHES,
    PUPIL,
    Canvas,
    _components,
    _learned_weights,
    paint,
)
from BFM.open_model.fine_detail import DetailLayers
from BFM.open_model.people import Person, random_person
from BFM.open_model.skin_masks import SkinMasks
from BFM.open_model.skin_optics import SkinColour


@pytest.fixture(scope="module")
def people():
    rng = np.random.default_rng(0)
    return [random_person(4, rng) for _ in range(600)]


def test_people_are_as_varied_as_the_world(people):
    melanin = np.exp([person.melanin for person in people])
    assert melanin.min() < 0.025 and melanin.max() > 0.25
    assert 0.4 < np.mean([person.male for person in people]) < 0.6
    fair = [person for person in people if person.melanin < np.log(0.04)]
    dark = [person for person in people if person.melanin > np.log(0.15)]
    # Dark skin goes with dark hair and brown eyes.
    for name in ("brow_hair", "iris"):
        light_of = [
            np.mean([getattr(person, name).mean() for person in group]) for group in (fair, dark)
        ]
        assert light_of[0] > 1.1 * light_of[1], name
    # A tenth of eyes are grey or blue, a few of them clearly blue, and most are brown.
    iris = np.array([person.iris for person in people])
    assert 0.06 < np.mean(iris[:, 2] > iris[:, 0]) < 0.15
    assert 0.015 < np.mean(iris[:, 2] > iris[:, 0] + 0.1) < 0.06
    assert np.mean(iris[:, 0] > iris[:, 2] + 0.05) > 0.6


def test_only_men_have_beards_and_only_the_old_have_deep_wrinkles(people):
    for person in people:
        if not person.male:
            assert person.stubble == person.moustache_chin == person.cheek_beard == 0
        if person.age < 0.15:
            assert person.wrinkles < 0.3 and person.age_spots < 0.4


def test_components_are_even_or_odd_and_of_unit_deviation():
    rng = np.random.default_rng(1)
    mirror = np.array([1, 0, 3, 2, 4])
    sources = rng.normal(size=(300, 6))
    deviations = np.einsum("nk,kvc->nvc", sources, rng.normal(size=(6, 5, 3)))
    deviations -= deviations.mean(axis=0)
    basis, parity, scores = _components(deviations, mirror, 8)
    assert basis.shape == (5, 3, 8)
    np.testing.assert_allclose(basis[mirror], basis * parity, atol=1e-9)
    np.testing.assert_allclose((scores**2).mean(axis=0), 1, rtol=1e-6)
    # Those of one kind are orthogonal, so that scores give the part back.
    even = np.flatnonzero(parity > 0)
    flat = basis.reshape(-1, 8)[:, even]
    np.testing.assert_allclose(flat.T @ flat, np.diag((flat**2).sum(axis=0)), atol=1e-8)


def test_components_do_not_depend_on_threads():
    deviations = np.random.default_rng(2).normal(size=(60, 500, 3))
    before = torch.get_num_threads()
    results = []
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            results.append(_components(deviations, np.arange(500)[::-1], 10)[0])
    finally:
        torch.set_num_threads(before)
    np.testing.assert_array_equal(*results)


def test_weights_are_learned_where_coefficients_tell_them():
    rng = np.random.default_rng(3)
    parity = np.array([1] * 40 + [-1] * 10)
    scores = rng.normal(size=(800, 50))
    true = rng.normal(size=3)
    told = 0.2 + scores[:, :1] * true
    untold = rng.normal(0, 0.7, (800, 1)) * np.array([1.0, 1.0, 1.0]) / np.sqrt(3)
    mean, basis = _learned_weights(np.stack([told, untold], axis=1), scores, parity, rng)
    np.testing.assert_allclose(mean[0], told.mean(axis=0))
    np.testing.assert_allclose(basis[0, :, 0], true, atol=0.02)
    # Odd components have no say, since maps are not mirrored.
    assert (basis[:, :, 40:] == 0).all()
    # What no coefficient tells differs between people as much as it did.
    assert np.sqrt((basis[1] ** 2).sum()) == pytest.approx(0.7, rel=0.1)
    assert np.abs(basis[1, :, :24]).max() < 0.1


CHEEK, LIP, JAW, BROW, LASH, PUPIL_VERTEX, WHITE, NOSTRIL = range(8)


@pytest.fixture(scope="module")
def canvas() -> Canvas:
    """Eight vertices, each the middle of one zone."""
    zones = {field.name: np.zeros(8) for field in fields(SkinMasks)}
    zones["lips"][LIP], zones["chin_beard"][JAW], zones["brow"][BROW] = 1, 1, 1
    layers = {name: np.full(8, 1e-3) for name in DetailLayers.names()}
    layers["stubble"][JAW] = layers["moustache_chin"][JAW] = 0.8
    layers["brow"][BROW] = layers["lashes"][LASH] = 0.9
    polar = np.full(8, np.inf)
    polar[[PUPIL_VERTEX, WHITE]] = 0, 30
    shade = np.zeros(8)
    shade[NOSTRIL] = 0.8
    return Canvas(
        SkinMasks(**zones), layers, shade, np.zeros((8, 4)), np.ones(4), polar, SkinColour()
    )


def clean_shaven(people: list[Person]) -> Person:
    chosen = next(person for person in people if person.male and person.age < 0.3)
    return replace(chosen, stubble=0.0, moustache_chin=0.0, cheek_beard=0.0, melanin=np.log(0.06))


def test_every_zone_gets_its_colour(people, canvas):
    person = clean_shaven(people)
    colours = paint(person, canvas).colours
    assert ((colours >= 0) & (colours <= 1)).all()
    np.testing.assert_allclose(colours[PUPIL_VERTEX], PUPIL, atol=0.02)
    redness = colours[:, 0] / colours[:, 1]
    assert redness[LIP] > 1.08 * redness[CHEEK]
    np.testing.assert_allclose(colours[JAW], colours[CHEEK], atol=0.02)
    assert colours[BROW].mean() < 0.6 * colours[CHEEK].mean()
    assert np.abs(colours[LASH] - LASHES).max() < 0.35
    assert colours[NOSTRIL].mean() < 0.6 * colours[CHEEK].mean()
    assert np.ptp(colours[WHITE]) < 0.25 < colours[WHITE].min()


def test_a_beard_changes_the_jaw_only(people, canvas):
    person = clean_shaven(people)
    bearded = replace(person, stubble=0.3, moustache_chin=0.8)
    change = paint(bearded, canvas).colours - paint(person, canvas).colours
    assert change[JAW].max() < -0.15
    assert np.abs(np.delete(change, JAW, axis=0)).max() < 2e-3
    weight = paint(bearded, canvas).weights["moustache_chin"]
    assert (weight < -0.15).all()
    assert (paint(person, canvas).weights["moustache_chin"] == 0).all()


def test_fine_layers_darken_skin_and_freckles_brown_it(people, canvas):
    weights = paint(replace(clean_shaven(people), freckles=1.0, wrinkles=1.0), canvas).weights
    assert set(weights) == set(DetailLayers.names())
    for name in ("relief", "wrinkles", "freckles"):
        assert (weights[name] < 0).all(), name
    # Melanin takes blue before red.
    assert weights["freckles"][2] < weights["freckles"][0]
