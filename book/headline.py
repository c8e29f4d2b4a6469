"""The README's pictures, drawn from tables by plotly in Debian's Chromium: `make picture` draws that of the published study.

python book/headline.py TABLES OUT.svg draws another study's, with the change of the weights as a panel more.
"""

import json
import sys
from pathlib import Path
from urllib.parse import unquote

import pandas as pd
import plotly.graph_objects as go
from playwright.sync_api import Browser, sync_playwright
from plotly.offline import get_plotlyjs

from bert_repro import figures
from bert_repro.results import scores, tables

CHROMIUM = "/usr/bin/chromium"
PUBLISHED = tables.ROOT / "results" / "mini" / "tables"
PICTURE = Path(__file__).parent / "_static" / "headline.svg"


def draw(folder: Path, weights: bool) -> go.Figure:
    """Draw RSA with the base, the change of the weights if wanted, and UUAS, by layer, from a study's tables."""
    table = tables.merge(folder)
    panels = {
        "RSA with the base (Wikipedia)": tables.select(
            table, notebook="similarity", method="rsa", metric="similarity", role="score", rows=None, corpus="wiki"
        )
    }
    if weights:
        panels["relative change of the weights"] = tables.select(table, metric="relative_l2", notebook="checkpoint")
    uuas = tables.select(
        table, notebook="structural_probe", metric="uuas", split="test", probe="structural", rows=None, corpus="ewt"
    )
    panels["UUAS of distance probes (EWT test)"] = scores.over_probe_seeds(uuas)
    rows = pd.concat([rows.assign(metric=panel) for panel, rows in panels.items()])
    return figures.task_curves(rows, facet="metric").update_layout(width=680)


def curves(figure: go.Figure) -> list[tuple[str, list[float]]]:
    """List the curves of a figure: its picture begins with them, as fonts, and so pictures, differ between machines."""
    lines = [trace for trace in figure.data if trace.mode and trace.fill is None]
    return [(trace.name, [round(float(y), 3) for y in trace.y]) for trace in lines]


def still(figure: go.Figure, browser: Browser) -> str:
    """Draw a figure as SVG, which a README can show."""
    page = browser.new_page()
    page.add_script_tag(content=get_plotlyjs())
    address = page.evaluate("text => Plotly.toImage(JSON.parse(text), {format: 'svg'})", figure.to_json())
    return unquote(address.partition(",")[2])


def main(folder: Path = PUBLISHED, out: Path = PICTURE) -> None:
    """Draw a picture from a folder of tables."""
    figure = draw(folder, weights=folder != PUBLISHED)
    with (
        sync_playwright() as driver,
        driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"]) as browser,
    ):
        out.write_text(f"<!-- {json.dumps(curves(figure))} -->\n{still(figure, browser)}\n", encoding="utf-8")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
