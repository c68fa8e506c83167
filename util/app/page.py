"""The page of the app: the report's parts, its own, and a policy that lets nothing else run."""

from __future__ import annotations

import base64
import hashlib
from functools import lru_cache

from util.reports.report_parts import fill, head, part, script, styles


@lru_cache
def app_page() -> tuple[str, str]:
    """The page, and the content security policy that goes with it."""
    own_css = part("app.css")
    code = "\n".join(script(part(name)) for name in ("common.js", "viewer.js", "face.js", "app.js"))
    page = fill({"head": head("Faces in 3D", own_css, policy=""), "script": code}, "app.html")
    policy = "; ".join(
        (
            "default-src 'none'",
            f"script-src '{_hash(code)}'",
            f"style-src '{_hash(styles(own_css))}'",
            "img-src 'self' data: blob:",
            "media-src 'self' blob:",
            "connect-src 'self'",
            "frame-ancestors 'none'",
            "base-uri 'none'",
            "form-action 'none'",
        )
    )
    return page, policy


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode("utf-8")).digest()
    return "sha256-" + base64.b64encode(digest).decode("ascii")
