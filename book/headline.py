"""The README's pictures, drawn from tables: python book/headline.py [TABLES OUT.svg], by default of the published study."""

import sys
from pathlib import Path

import pandas as pd

from bert_repro import figures
from bert_repro.figures.svg import still
from bert_repro.results import scores, tables

RSA, CHANGE, UUAS = (
    "RSA with the untuned encoder (Wikipedia)",
    "relative change of the weights",
    "UUAS of distance probes (EWT test)",
)

published = tables.ROOT / "results" / "minilm" / "tables", Path(__file__).parent / "_static" / "headline.svg"
folder, out = map(Path, sys.argv[1:]) if sys.argv[1:] else published
table = tables.merge(folder)
rsa = tables.select(table, method="rsa", metric="similarity", role="score", rows=None, corpus="wiki")
moved = tables.select(table, metric="relative_l2", notebook="checkpoint")
uuas = tables.select(table, metric="uuas", split="test", probe="structural")
panels = {RSA: rsa, CHANGE: moved, UUAS: scores.over_probe_seeds(uuas)}
drawn = pd.concat([rows.assign(metric=panel) for panel, rows in panels.items()])
out.write_text(still(figures.layer_curves(drawn, facet="metric")) + "\n", encoding="utf-8")
