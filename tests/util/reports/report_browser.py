"""Pages of reports as a browser sees them, and a real browser, where there is one."""

from __future__ import annotations

import json
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from tests import browser

FLAGS = (
    *("--headless", "--no-sandbox", "--disable-dev-shm-usage", "--enable-unsafe-swiftshader"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--no-first-run", "--virtual-time-budget=60000", "--window-size=1200,900"),
)

HELPERS = """
const filled = (p) => { let n = 0; for (let i = 3; i < p.length; i += 4) n += p[i] > 0; return n / (p.length / 4); };
const differing = (a, b) => { let n = 0; for (let i = 0; i < a.length; i++) n += Math.abs(a[i] - b[i]) > 8; return n / a.length; };
const press = (target, key) => target.dispatchEvent(new KeyboardEvent('keydown', { key, bubbles: true, cancelable: true }));
const move = (slider, value) => { slider.value = value; slider.dispatchEvent(new Event('input', { bubbles: true })); };
const later = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));
const turn = () => new Promise((done) => { const { port1, port2 } = new MessageChannel(); port1.onmessage = done; port2.postMessage(0); });
// The browser's clock leaps when nothing waits for it; messages take real time, which decoding needs.
const until = async (test) => { for (let i = 0; i < 2000 && !test(); i++) { for (let k = 0; k < 40; k++) await turn(); await later(20); } };
"""  # noqa: E501


class Page(HTMLParser):
    """The elements of a page, and the text inside each script."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self._inside = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag == "script":
            self.scripts.append("")
            self._inside = True

    def handle_endtag(self, tag: str) -> None:
        if tag == "script":
            self._inside = False

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.scripts[-1] += data

    def attribute(self, tag: str, name: str) -> list[str]:
        return [value for t, a in self.elements if t == tag and (value := a.get(name))]


def find_chromium() -> str:
    """The browser's command; skips the test where there is none."""
    found = browser.find_chromium()
    if found is None:
        pytest.skip("needs Chromium (apt-get install chromium)")
    return found


def body_after(
    chromium: str, page: Path, profile: Path, *flags: str, hand: str = "return {};"
) -> dict[str, str | None]:
    """Attributes of the page's body after its scripts have run.

    Args:
        chromium: the browser.
        page: to open.
        profile: folder for the browser's own files.
        flags: further ones of the browser.
        hand: what a hand does on the page, as the body of an async function; what it returns is in
            `data-found`, as JSON.
    """
    # A copy with one more script, which begins when the page is ready.
    text = page.read_text(encoding="utf-8")
    script = f"""<script>{HELPERS}
(async () => {{
  const {{ dataset }} = document.body;
  await until(() => dataset.viewer || dataset.report);
  try {{ dataset.found = JSON.stringify(await (async () => {{ {hand} }})()); }}
  catch (error) {{ dataset.found = JSON.stringify({{ error: error.stack }}); }}
}})();</script></body>"""
    opened = page.with_name(f"hand {page.name}")
    opened.write_text(script.join(text.rsplit("</body>", 1)), encoding="utf-8")
    command = [chromium, *FLAGS, *flags, f"--user-data-dir={profile}", "--dump-dom"]
    made = subprocess.run(
        [*command, opened.as_uri()], capture_output=True, text=True, timeout=300, check=True
    )
    (body,) = (attributes for tag, attributes in Page(made.stdout).elements if tag == "body")
    return body


def found_by(body: dict[str, str | None]) -> dict[str, Any]:
    """What the hand found."""
    found = json.loads(body.get("data-found") or '{"error": "the page was not ready in time"}')
    assert "error" not in found, found["error"]
    return found
