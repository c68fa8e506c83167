"""Pages from the files of `report_page/`, filled in and safe, whatever a photo is called."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from urllib.parse import quote

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


def link(name: str) -> str:
    """A file beside the page, as a link."""
    return "./" + quote(name)
