"""What does fine-tuning do to BERT? The thin package behind the notebooks.

Data flows down these rooms, and none imports one further down: tests/test_architecture.py checks the levels.

`files`: paths, and writing files whole or not at all. `corpora`: finds sentences, pairs and questions; `sources` lists the
texts with their licences, `readers` take them from files and `tfds` from tensorflow-datasets, `cleaning` prepares text to
pre-train on. `checkpoints`: finds an encoder; a `checkpoint` in its folder, `builtin` ones, the `hub`, file `formats`,
`families`, a new `vocabulary`. `alignment`, `encoder`, `backend`: words to wordpieces, and those to every layer. `states`:
every word's vector in every layer, computed by `compute` and kept in a `store`, or `live` where nothing is kept.
`finetune`: tunes an encoder, with the task `heads` on top; `line` leads from its weights to the tuned ones. `similarity`,
`probes`: turn vectors into numbers. `results`: numbers with `intervals` in `tables`, with the `provenance` of each;
`scores` brings together those of tuned models, `lines` says what happens on the way between two, `contrasts` lays two sets
side by side, `claims` judges. `figures`: draws; `theme` is the look of all, `planes` puts words in a plane, `scorecard`
shows the verdicts, `templates` has the HTML. `workflow`: a `study` says which notebook runs with which setting, `plan` what
that `costs`; `report` runs them all, here or on a cluster; `notebooks` runs one; `commands` are those of the command line;
`staleness` says whether a table would come out differently today, `ledger` shows what made it.
"""

__version__ = "0.2.0"
