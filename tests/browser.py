"""A real browser that tests drive: Chromium over its debugging pipe, without further packages.

Commands are those of the Chrome DevTools Protocol, as JSON that ends with a zero byte.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

_HELPERS = """
const filled = (p) => { let n = 0; for (let i = 3; i < p.length; i += 4) n += p[i] > 0; return n / (p.length / 4); };
const differing = (a, b) => { let n = 0; for (let i = 0; i < a.length; i++) n += Math.abs(a[i] - b[i]) > 8; return n / a.length; };
const press = (target, key) => target.dispatchEvent(new KeyboardEvent('keydown', { key, bubbles: true, cancelable: true }));
const move = (slider, value) => { slider.value = value; slider.dispatchEvent(new Event('input', { bubbles: true })); };
const later = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));
const until = async (test) => { for (let i = 0; i < 1500 && !test(); i++) await later(20); };
"""  # noqa: E501
"""What hands on a page need, as JavaScript."""
_NAMES = ("chromium", "chromium-browser", "google-chrome")
_FLAGS = (
    *("--headless", "--no-sandbox", "--disable-dev-shm-usage", "--enable-unsafe-swiftshader"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--no-first-run", "--remote-debugging-pipe", "--hide-scrollbars"),
    *("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"),
)
# The browser reads commands from descriptor 3 and writes to 4, whatever ours are called.
_START = (
    "import os, sys; r, w = int(sys.argv[1]), int(sys.argv[2]);"
    "os.dup2(r, 3); os.dup2(w, 4); os.execv(sys.argv[3], sys.argv[3:])"
)


def find_chromium() -> str:
    """Where Chromium is; skips the test where it is not, or cannot be driven so."""
    found = next((path for name in _NAMES if (path := shutil.which(name))), None)
    if found is None or os.name != "posix":
        pytest.skip("needs Chromium (apt-get install chromium)")
    return found


def hand_on(
    chromium: str, page: Path, profile: Path, *flags: str, hand: str = "return {};"
) -> tuple[dict[str, Any], dict[str, str]]:
    """What a hand finds on a report that is ready.

    Args:
        chromium: the program.
        page: to open.
        profile: folder for what the browser keeps.
        flags: further ones of the browser.
        hand: what it does, as the body of an async function.

    Returns:
        What the hand returned; what the page says of itself (`viewer`, ..), and its `class`.
    """
    with Browser(chromium, profile, (1200, 900), *flags) as browser:
        browser.open(page.as_uri())
        said = "document.body?.dataset"
        browser.wait_for(f"{said}?.viewer || {said}?.report")
        found = browser.run(f"(async () => {{ {_HELPERS} {hand} }})()")
        wrong = [event for event in browser.events if "exception" in str(event).lower()]
        assert not wrong, wrong
        body = browser.run("({ ...document.body.dataset, class: document.body.className })")
    return found, body


class Browser:
    """One page in a headless Chromium; use as a context manager."""

    def __init__(
        self, chromium: str, profile: Path, size: tuple[int, int] = (1200, 900), *flags: str
    ) -> None:
        """Start it.

        Args:
            chromium: the program.
            profile: folder for what it keeps.
            size: width and height of the page.
            flags: further ones.
        """
        import fcntl

        def high(descriptor: int) -> int:
            """Out of the way of 3 and 4."""
            moved = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 20)
            os.close(descriptor)
            return moved

        (read_in, self._write), (self._read, write_out) = os.pipe(), os.pipe()
        read_in, write_out = high(read_in), high(write_out)
        command = [sys.executable, "-c", _START, str(read_in), str(write_out), chromium, *_FLAGS]
        command += [*flags, f"--window-size={size[0]},{size[1]}", f"--user-data-dir={profile}"]
        self._process = subprocess.Popen(
            [*command, "about:blank"],
            pass_fds=(read_in, write_out),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(read_in)
        os.close(write_out)
        self._number, self._rest, self._session = 0, b"", ""
        self.events: list[dict[str, Any]] = []
        """What the page said: exceptions, and what its console or its policy complained of."""
        targets = self.call("Target.getTargets")["targetInfos"]
        target = next(t["targetId"] for t in targets if t["type"] == "page")
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "DOM", "Log"):
            self.call(f"{domain}.enable")

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError, TimeoutError):
            self._session = ""
            self.call("Browser.close", wait_s=5)
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._write)
        os.close(self._read)

    def call(self, method: str, wait_s: float = 60, **parameters: Any) -> dict[str, Any]:
        """One command and its result."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        until = time.monotonic() + wait_s
        while True:
            answer = self._message(until, method)
            if answer.get("id") == self._number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']['message']}")
                return answer["result"]

    def _message(self, until: float, what: str) -> dict[str, Any]:
        while b"\0" not in self._rest:
            left = until - time.monotonic()
            if left <= 0 or not select.select([self._read], [], [], left)[0]:
                raise TimeoutError(f"the browser did not answer to {what}")
            chunk = os.read(self._read, 1 << 16)
            if not chunk:
                raise OSError("the browser is gone")
            self._rest += chunk
        line, _, self._rest = self._rest.partition(b"\0")
        message = json.loads(line)
        if message.get("method") in ("Runtime.exceptionThrown", "Log.entryAdded"):
            self.events.append(message["params"])
        return message

    def open(self, address: str) -> None:
        """Go to a page; `wait_for` what it shows."""
        self.call("Page.navigate", url=address)

    def run(self, script: str) -> Any:
        """The value of an expression in the page; promises are waited for."""
        made = self.call(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True
        )
        if "exceptionDetails" in made:
            raise RuntimeError(made["exceptionDetails"]["exception"].get("description", script))
        return made["result"].get("value")

    def wait_for(self, condition: str, seconds: float = 60) -> None:
        """Until an expression in the page is true."""
        until = time.monotonic() + seconds
        while not self.run(f"Boolean({condition})"):
            if time.monotonic() > until:
                text = self.run("document.body.innerText")
                raise TimeoutError(f"{condition} did not come true; the page says: {text[:600]}")
            time.sleep(0.1)

    def choose_file(self, selector: str, path: Path) -> None:
        """Put a file into a field, as if it were chosen in the dialogue."""
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        field = self.call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.call("DOM.setFileInputFiles", nodeId=field, files=[str(path)])

    def press(self, key: str, code: int = 0) -> None:
        """A key, down and up, where the focus is."""
        text = {"Enter": "\r", " ": " "}.get(key)
        common: dict[str, Any] = {"key": key, "windowsVirtualKeyCode": code}
        down: dict[str, Any] = {"text": text} if text else {}
        self.call("Input.dispatchKeyEvent", type="keyDown", **common, **down)
        self.call("Input.dispatchKeyEvent", type="keyUp", **common)

    def look(self, path: Path, *, width: int = 0, dark: bool = False, whole: bool = True) -> None:
        """Write a picture of the page, of its whole length or of what the window shows."""
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        if width:
            self.call(
                "Emulation.setDeviceMetricsOverride",
                width=width,
                height=800,
                deviceScaleFactor=1,
                mobile=width < 600,
            )
        time.sleep(0.6)
        made = self.call("Page.captureScreenshot", captureBeyondViewport=whole, wait_s=120)
        path.write_bytes(base64.b64decode(made["data"]))
