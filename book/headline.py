"""The README's pictures, drawn from tables: `make picture` draws that of the published study.

python book/headline.py TABLES OUT.svg draws another study's, with the change of the weights as a panel more.
"""

import sys
from pathlib import Path

import pandas as pd

from bert_repro import figures
from bert_repro.figures.svg import still
from bert_repro.results import scores, tables

PUBLISHED = tables.ROOT / "results" / "minilm" / "tables"
PICTURE = Path(__file__).parent / "_static" / "headline.svg"


def draw(folder: Path, weights: bool) -> str:
    """Draw RSA with the base, the change of the weights if wanted, and UUAS, by layer, from a study's tables."""
    table = tables.merge(folder)
    panels = {
        "RSA with the untuned encoder (Wikipedia)": tables.select(
            table, method="rsa", metric="similarity", role="score", rows=None, corpus="wiki"
        )
    }
    if weights:
        panels["relative change of the weights"] = tables.select(table, metric="relative_l2", notebook="checkpoint")
    uuas = tables.select(table, metric="uuas", split="test", probe="structural", rows=None)
    panels["UUAS of distance probes (EWT test)"] = scores.over_probe_seeds(uuas)
    seeds = pd.concat([rows.assign(metric=panel) for panel, rows in panels.items()])
    means = pd.concat([scores.by_task(of_panel) for _, of_panel in seeds.groupby("metric", sort=False)])
    faint = tables.select(seeds, role="score").dropna(subset="task")
    return still(figures.layer_curves(means, facet="metric", faint=faint)) + "\n"


if __name__ == "__main__":
    given = [Path(argument) for argument in sys.argv[1:]]
    folder, out = given or (PUBLISHED, PICTURE)
    out.write_text(draw(folder, weights=bool(given)), encoding="utf-8")
