"""A figure as a picture: hides how a headless browser draws plotly's figures without a window or a network.

It refuses file types that the browser cannot give.
"""

import base64
import html
import json
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from urllib.parse import unquote_to_bytes

import plotly.graph_objects as go
import plotly.io as pio
from plotly.offline import get_plotlyjs


def save(figure: go.Figure, path: Path | str, width: int = 900) -> None:
    """Save a figure as a picture with a headless Chromium, which plotly needs nowhere else.

    Args:
        figure: The figure; its layout's height is kept.
        path: A file ending in .svg or .png.
        width: Width in pixels; a PNG has twice as many, for sharp screens.

    Raises:
        FileNotFoundError: No Chromium or Chrome on the PATH.
        ValueError: The path ends in something else.
        RuntimeError: The browser made no picture.
    """
    path = Path(path)
    kind_of_file = path.suffix.lstrip(".").lower()
    if kind_of_file not in ("svg", "png"):
        raise ValueError(f"cannot save a figure as {path.name!r}: expected a name ending in .svg or .png")
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
    if browser is None:
        raise FileNotFoundError("a picture needs a Chromium or Chrome on the PATH (Debian: apt-get install chromium)")
    wanted = {"format": kind_of_file, "width": width, "height": figure.layout.height or 450}
    wanted["scale"] = 2 if kind_of_file == "png" else 1
    page = (
        f"<!doctype html><meta charset='utf-8'><script>{get_plotlyjs()}</script><pre id='picture'></pre><script>"
        f"Plotly.toImage({pio.to_json(figure, validate=False)}, {json.dumps(wanted)})"
        ".then(url => { document.getElementById('picture').textContent = url })</script>"
    )
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "figure.html").write_text(page, encoding="utf-8")
        done = subprocess.run(
            [browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
             "--disable-background-networking", "--disable-component-update", "--disable-sync",
             f"--user-data-dir={folder}/profile", "--virtual-time-budget=10000", "--dump-dom",
             f"file://{folder}/figure.html"],
            check=False, capture_output=True, text=True, timeout=120,
        )  # fmt: skip
    found = re.search(r"<pre id=.picture.>data:image/[^,]*?(;base64)?,([^<]+)</pre>", done.stdout)
    if not found:
        raise RuntimeError(f"{browser} made no picture (exit {done.returncode}): {done.stderr[-500:]}")
    data = unquote_to_bytes(html.unescape(found[2]))
    if found[1]:
        data = base64.b64decode(data)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
