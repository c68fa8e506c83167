"""Pages from the files of `report_page/`, filled in and safe, whatever a photo is called."""

from __future__ import annotations

import base64
import html
import io
import json
import platform
from collections.abc import Iterable, Mapping
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from urllib.parse import quote

import numpy as np
from PIL import Image

from data.images import reduce_image

REPORT_ENDING = "_report.html"
_PARTS = Path(__file__).with_name("report_page")


@lru_cache
def part(name: str) -> str:
    """A file of `report_page/`."""
    return (_PARTS / name).read_text(encoding="utf-8")


def fill(values: Mapping[str, str], page: str = "page.html") -> str:
    """A page with its `{{names}}` replaced; what is put in is not searched again."""
    first, *rest = part(page).split("{{")
    made = [first]
    for piece in rest:
        name, _, after = piece.partition("}}")
        made += [values[name], after]
    return "".join(made)


def script_json(what: str, values: object) -> str:
    """JSON that no `</script>` in a name can end.

    Raises:
        ValueError: a number is not finite.
    """
    try:
        text = json.dumps(values, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    except ValueError as error:
        raise ValueError(f"{what}: a number of the report is not finite") from error
    return text.replace("<", "\\u003c")


def script(text: str) -> str:
    """A script as it may stand inside a page."""
    return text.replace("</script", "<\\/script").replace("<!--", "<\\!--")


def escaped(text: str) -> str:
    """Text as it may stand in a page, also within quotes."""
    return html.escape(text)


def table_rows(rows: Iterable[tuple[str, str]]) -> str:
    """Rows of a table of names and values."""
    return "".join(
        f'<tr><th scope="row">{escaped(name)}</th><td>{escaped(value)}</td></tr>'
        for name, value in rows
    )


def warning_card(warnings: Iterable[str]) -> str:
    """What deserves a look, above all else; nothing where nothing does."""
    items = "".join(f"<li>{escaped(warning)}</li>" for warning in warnings)
    if not items:
        return ""
    return f'<section class="card warnings"><h2>Look closer</h2><ul>{items}</ul></section>'


def file_items(names: Mapping[str, str]) -> str:
    """Files beside the page with what they hold, as items of a list."""
    return "".join(
        f'<li><a href="{link(name)}">{escaped(name)}</a> <span class="soft">{what}</span></li>'
        for name, what in names.items()
    )


def versions() -> str:
    """Of what computes."""
    found = (platform.python_version(), version("torch"), np.__version__)
    return "Python {}, torch {}, numpy {}".format(*found)


def jpeg_bytes(picture: np.ndarray, longest_px: int, quality: int) -> bytes:
    """A picture (H, W, 3) uint8 as JPEG, reduced if it is larger."""
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(reduce_image(picture, longest_px))).save(
        buffer, "JPEG", quality=quality
    )
    return buffer.getvalue()


def jpeg_uri(content: bytes) -> str:
    """A JPEG file as the source of an image."""
    return "data:image/jpeg;base64," + base64.b64encode(content).decode("ascii")


def link(name: str) -> str:
    """A file beside the page, as a link."""
    return "./" + quote(name)
