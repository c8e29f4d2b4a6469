"""What does fine-tuning do to BERT? The thin package behind the notebooks.

From text to verdict: `corpora` finds sentences and pairs, which `readers` takes from files and `datasets` from
tensorflow-datasets; `checkpoints` loads an encoder, with `hub` (where it comes from), `weights` (file formats) and
`architectures` (families); `pretraining_text` and `vocabulary`
prepare one of your own; `encoder` computes it, `finetune` tunes it, with `heads` (and `trees`) on top; `alignment` brings
words and wordpieces together, and `states` gives every word's vector in every layer, kept in a `store`; `similarity` and
`probes` turn vectors into numbers, `intervals` into numbers with intervals, `tables` keeps them; `scores` brings together
those of tuned models, `ablation` sets the change of a layer against what came of it, `projections` puts words in a plane;
`figures` draws, `claims` judges, `scorecard` shows the verdicts, `compare` lays two sets of results side by side. `study`
says which notebook runs with which setting, `plan` what that costs, `report` has them all run, here or on a cluster; `execute`
runs one (`rerun` again, from a manifest) and `page` makes one web page of it; `provenance` says what made a table, `staleness`
whether it would be made otherwise today, and `ledger` shows both. `sources` lists the corpora: files, licences, and whether their
texts may be shown.
"""

__version__ = "0.1.0"
