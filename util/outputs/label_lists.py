"""What EG3D and its relatives share: a folder of pictures, listed with camera labels in a file.

A face's own labels lie beside its picture, and the lists are made of them anew at the end of each
run: so that they hold the faces of all runs into a folder, and none that has gone.
"""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np

from util.atomic import write_text
from util.outputs.output import Output
from util.photos.face_result import FaceResult

LABEL_ENDING = "_label.json"
_LABEL_NUMBERS = 25


class LabelledOutput(Output):
    """A kind whose folder holds lists of camera labels."""

    lists: ClassVar[Mapping[str, str]] = MappingProxyType({})
    """Name of a label in the face's file -> name of the list."""

    @abstractmethod
    def labels(self, face: FaceResult) -> Mapping[str, list[float]]:
        """The labels of a face by name."""

    @classmethod
    @abstractmethod
    def entries(cls, root: Path, record: Mapping[str, Any], name: str) -> Iterator[list[Any]]:
        """Lines of a list: a picture's file, within the kind's folder, and its label.

        Args:
            root: the kind's folder.
            record: of a face.
            name: of the label.
        """

    def contents(self, stem: str) -> dict[str, str]:
        """With the lists."""
        lists = {
            f"{self.prefix}{file}": f"{name} labels of all faces"
            for name, file in self.lists.items()
        }
        return super().contents(stem) | lists

    def write_labels(self, folder: Path, face: FaceResult, picture: str) -> None:
        """Write `<stem>_label.json`.

        Args:
            folder: of the results.
            face: whose labels.
            picture: name that lists have for it.

        Raises:
            ValueError: a number is not finite; nothing is written.
        """
        labels = self.labels(face)
        if not np.isfinite(list(labels.values())).all():
            raise ValueError(f"{face.stem}: the camera's label is not finite")
        text = json.dumps({"file": picture, **labels}, ensure_ascii=False, indent=1)
        write_text(folder / f"{self.prefix}{face.stem}{LABEL_ENDING}", text + "\n")

    @classmethod
    def collect(cls, folder: Path) -> None:
        """Write the lists from the labels of all faces."""
        root = folder / cls.prefix
        if not root.is_dir():
            return
        found = (cls._read(path) for path in root.glob(f"*{LABEL_ENDING}"))
        records = [record for record in found if record is not None]
        records.sort(key=lambda record: record["file"])
        for name, file in cls.lists.items():
            if not records and not (root / file).exists():
                continue
            lines = [
                json.dumps(entry, ensure_ascii=False)
                for record in records
                for entry in cls.entries(root, record, name)
            ]
            write_text(root / file, '{"labels": [\n' + ",\n".join(lines) + "\n]}\n")

    @classmethod
    def _read(cls, path: Path) -> Mapping[str, Any] | None:
        """A face's labels; None where the file is none of ours."""
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            numbers = np.array([record[name] for name in cls.lists], np.float64)
            is_whole = numbers.shape == (len(cls.lists), _LABEL_NUMBERS)
            is_ours = isinstance(record["file"], str) and bool(np.isfinite(numbers).all())
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return None
        return record if is_whole and is_ours else None
