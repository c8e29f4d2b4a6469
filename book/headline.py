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
rsa = table[(table["method"] == "rsa") & (table["metric"] == "similarity") & (table["role"] == "score")]
rsa = rsa[rsa["rows"].isna() & (rsa["corpus"] == "wiki")]
moved = table[(table["metric"] == "relative_l2") & (table["notebook"] == "checkpoint")]
uuas = table[(table["metric"] == "uuas") & tables.of_split(table, "test") & (table["probe"] == "structural")]
panels = {RSA: rsa, CHANGE: moved, UUAS: scores.over_probe_seeds(uuas)}
drawn = pd.concat([rows.assign(metric=panel) for panel, rows in panels.items()])
out.write_text(still(figures.layer_curves(drawn, facet="metric")) + "\n", encoding="utf-8")
