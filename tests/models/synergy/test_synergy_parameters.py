"""Layouts and whitening of SynergyNet's parameters."""

from __future__ import annotations

import pytest
import torch

from models.synergy.parameters import (
    DATATOOL_LAYOUT,
    DDFA_LAYOUT,
    SynergyLayout,
    SynergyMeaning,
    Whitening,
)


def test_the_published_sizes():
    assert DDFA_LAYOUT.sizes == (12, 40, 10) and DDFA_LAYOUT.size == 62
    assert DATATOOL_LAYOUT.sizes == (7, 199, 29) and DATATOOL_LAYOUT.size == 235


def test_blocks_come_in_order():
    pose, shape, expression = DDFA_LAYOUT.split(torch.arange(62.0)[None])
    assert pose[0].tolist() == list(range(12))
    assert shape[0].tolist() == list(range(12, 52))
    assert expression[0].tolist() == list(range(52, 62))


def test_wrong_sizes_are_refused():
    with pytest.raises(ValueError, match="not 9"):
        SynergyLayout(pose=9)
    with pytest.raises(ValueError, match="0 shape"):
        SynergyLayout(shape=0)
    with pytest.raises(ValueError, match="have 61 numbers, this layout has 62"):
        DDFA_LAYOUT.split(torch.zeros(1, 61))


def test_whitening_and_back():
    mean, std = torch.randn(62), torch.rand(62) + 0.1
    whitening, parameters = Whitening(mean, std), torch.randn(3, 62) * std + mean
    torch.testing.assert_close(whitening.unwhiten(whitening.whiten(parameters)), parameters)
    assert torch.equal(whitening.whiten(mean[None]), torch.zeros(1, 62))
    torch.testing.assert_close(whitening.unwhiten(torch.ones(1, 62))[0], mean + std)


@pytest.mark.parametrize(
    ("mean", "std", "words"),
    [
        ([0.0], [0.0], "number 0 is not above 0"),
        ([0.0], [1.0, 1.0], r"mean is \(1,\)"),
        ([float("nan")], [1.0], "not finite"),
    ],
)
def test_a_whitening_that_cannot_be_undone_is_refused(mean, std, words):
    with pytest.raises(ValueError, match=words):
        Whitening(torch.tensor(mean), torch.tensor(std))


def test_meaning_survives_a_record():
    meaning = SynergyMeaning(DATATOOL_LAYOUT, 450, "rgb01", 77)
    assert SynergyMeaning.from_record(meaning.record) == meaning
