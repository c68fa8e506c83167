"""Write a record of plain values as `.json`, an entry a line."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from util.atomic import write_text


def write_record(path: Path, record: Mapping[str, Any]) -> None:
    """Write a record as UTF-8 text.

    Raises:
        ValueError: a number is not finite; nothing is written.
    """
    try:
        entries = [
            f"{json.dumps(key)}: {json.dumps(value, ensure_ascii=False, allow_nan=False)}"
            for key, value in record.items()
        ]
    except ValueError as error:
        raise ValueError(f"{path.name}: the camera or a landmark is not finite") from error
    # One entry a line: short, and still readable.
    write_text(path, "{" + ",\n ".join(entries) + "}\n")
