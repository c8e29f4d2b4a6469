"""What does fine-tuning do to BERT? The thin package behind the notebooks.

Data flows down these rooms, and none imports one further down; tests/test_architecture.py holds the levels.

`files`: where things lie, and how they are written whole or not at all.
`corpora`: finds sentences, pairs and questions; `sources` lists the texts with their licences, `readers` take them from files and
`tfds` from tensorflow-datasets, `cleaning` prepares text to pre-train on.
`checkpoints`: finds an encoder; a `checkpoint` in its folder, `builtin` ones, the `hub`, file `formats`, `families`, a new `vocabulary`.
`alignment`, `encoder`, `backend`: words to wordpieces, and those to every layer.
`states`: every word's vector in every layer, made by `compute` and kept in a `store`, or `live` where none is kept.
`finetune`: tunes an encoder, with the task `heads` on top; `line` leads from its weights to the tuned ones.
`similarity`, `probes`: turn vectors into numbers.
`results`: numbers with `intervals` in `tables`, with the `provenance` of each; `scores` brings together those of tuned models,
`lines` says what happens on the way between two, `contrasts` lays two sets side by side, `claims` judges.
`figures`: draws; `theme` is the look of all, `planes` puts words in a plane, `scorecard` shows the verdicts.
`workflow`: a `study` says which notebook runs with which setting, `plan` what that `costs`, `report` has them all run, here or on
a cluster; `notebooks` runs one; `staleness` says whether a table would be made otherwise today, `ledger` shows what made it.
"""

__version__ = "0.1.0"
