"""The README's picture, drawn from the tables of the published study: python book/headline.py."""

from pathlib import Path

import pandas as pd

from bert_repro import figures
from bert_repro.figures.svg import still
from bert_repro.results import scores, tables

PANELS = {"rsa": "RSA with the untuned encoder (Wikipedia)", "uuas": "UUAS of distance probes (EWT test)"}

table = tables.merge(tables.ROOT / "results" / "minilm" / "tables")
rsa = table[(table["method"] == "rsa") & (table["metric"] == "similarity") & (table["role"] == "score")]
rsa = rsa[rsa["rows"].isna() & (rsa["corpus"] == "wiki")]
uuas = table[(table["metric"] == "uuas") & (table["split"] == "test") & (table["probe"] == "structural")]
both = pd.concat([rsa.assign(metric=PANELS["rsa"]), scores.over_probe_seeds(uuas).assign(metric=PANELS["uuas"])])
drawn = still(figures.layer_curves(both, facet="metric"))
(Path(__file__).parent / "_static" / "headline.svg").write_text(drawn + "\n", encoding="utf-8")
