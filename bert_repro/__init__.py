"""What does fine-tuning do to BERT? The thin package behind the notebooks.

From text to verdict: `corpora` reads sentences and pairs; `checkpoints` loads an encoder, with `hub` (where it comes from),
`weights` (file formats) and `architectures` (families); `encoder` computes it, `finetune` (with `heads`) tunes it;
`alignment` brings words and wordpieces together, and `states` gives every word's vector in every layer, kept in a `store`;
`similarity` and `probes` turn vectors into numbers, `intervals` into numbers with intervals, `tables` keeps them;
`figures` draws, `claims` judges. `study` says which notebook runs with which setting, `execute` runs it and `page` makes one
web page of it; `sample` is a small English of our own, for everything that must work with no data at hand.
"""

__version__ = "0.1.0"
