"""Opens pages in a headless browser, where there is one."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

BROWSER = next(
    (
        found
        for name in ("chromium", "chromium-browser", "google-chrome", "chrome")
        if (found := shutil.which(name)) is not None
    ),
    None,
)


def evaluate(page: Path, script: str, folder: Path) -> Any:
    """Open a copy of `page` from disk, run `script` after its own, and return what the script returns as JSON.

    Errors of the page are returned as ``{"error": …}``.
    """
    assert BROWSER is not None
    probe = (
        "<script>window.onerror = (m) => { document.documentElement.dataset.error = m; };</script>",
        "<script>(() => { const result = (() => {"
        + script
        + "})(); const out = document.createElement('pre'); out.id = 'probe';"
        "out.textContent = JSON.stringify(result); document.body.append(out); })();</script>",
    )
    source = page.read_text(encoding="utf-8")
    source = source.replace("<head>", "<head>" + probe[0], 1).replace("</body>", probe[1] + "</body>", 1)
    copy = folder / "probed.html"
    copy.write_text(source, encoding="utf-8")
    command = [
        BROWSER,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        f"--user-data-dir={folder / 'profile'}",
        "--timeout=60000",
        "--dump-dom",
        copy.as_uri(),
    ]
    shown = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout
    error = re.search(r'data-error="([^"]*)"', shown)
    if error:
        return {"error": html.unescape(error[1])}
    found = re.search(r'<pre id="probe">(.*?)</pre>', shown, re.DOTALL)
    assert found is not None, shown[-2000:]
    return json.loads(html.unescape(found[1]))
