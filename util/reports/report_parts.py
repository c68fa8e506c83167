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
CLOSED = "default-src 'none'; img-src data:; script-src 'unsafe-inline'; style-src 'unsafe-inline'"
"""Content security policy of a page that has everything inside."""
WITH_VIDEO = f"{CLOSED}; media-src 'self' file:"
"""Of one that shows a video that lies beside it."""
WITH_PICTURES = CLOSED.replace("img-src", "img-src 'self' file:")
"""Of one that shows pictures that lie beside it."""
ABOUT_WEAK = (
    "Predicted in weak perspective, all of the face at one depth: there is neither a distance nor "
    "a focal length, and sizes are those that the face model gives it."
)
_PARTS = Path(__file__).with_name("report_page")


@lru_cache
def part(name: str) -> str:
    """A file of `report_page/`."""
    return (_PARTS / name).read_text(encoding="utf-8")


def head(title: str, css: str = "", policy: str = CLOSED, generator: str = "") -> str:
    """The head of a page, with all that stands before its body.

    Args:
        title: of the browser's tab, as plain text.
        css: styles beyond those of all pages.
        policy: content security policy; empty where a server sends it.
        generator: what made the page, where it has to be told from others.
    """
    said = f'<meta name="generator" content="{generator}">\n' if generator else ""
    if policy:
        said += f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
    else:
        said += '<link rel="icon" href="data:,">\n'  # else the browser asks the server for one
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta name="color-scheme" content="light dark">\n{said}'
        f"<title>{escaped(title)}</title>\n"
        f"<style>{styles(css)}</style>\n</head>"
    )


def styles(css: str = "") -> str:
    """What all pages have in their `<style>`, and what one has beyond it."""
    return part("report.css") + css


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


def about(text: str) -> str:
    """A remark below what it is about; nothing where there is none."""
    return f"<p class='soft'>{escaped(text)}</p>" if text else ""


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
