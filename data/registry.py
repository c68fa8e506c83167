"""Datasets by name: what `--dataset_mode` chooses from."""

from __future__ import annotations

from typing import Any

from data.base_dataset import FaceDataset
from data.datatool_dataset import DatatoolDataset
from data.ddfa_dataset import DdfaDataset
from data.flist_dataset import FlistDataset
from data.synthetic_dataset import SyntheticDataset
from data.template_dataset import TemplateDataset
from data.webdataset_dataset import WebdatasetDataset
from models.assets import Assets
from util.errors import InputError

DATASETS: dict[str, type[FaceDataset]] = {
    "datatool": DatatoolDataset,
    "ddfa": DdfaDataset,
    "flist": FlistDataset,
    "synthetic": SyntheticDataset,
    "template": TemplateDataset,
    "webdataset": WebdatasetDataset,
}


def find_dataset(mode: str) -> type[FaceDataset]:
    """The dataset class of a name.

    Raises:
        InputError: there is none.
    """
    if mode not in DATASETS:
        raise InputError(f"--dataset_mode {mode} is unknown; choose one of {', '.join(DATASETS)}")
    return DATASETS[mode]


def create_dataset(
    mode: str, options: Any, assets: Assets | None, *, is_train: bool
) -> FaceDataset:
    """Build a dataset from its parsed options.

    Args:
        mode: key of DATASETS.
        options: parsed groups, found by their class.
        assets: face model and networks.
        is_train: the training part, augmented, or the validation part.

    Raises:
        InputError: unknown mode, or data that is not there.
    """
    return find_dataset(mode)(options, assets, is_train)
