"""One table of wrong ways to use the commands: each ends with its exit code and one line that says what is wrong and what to do."""

import gzip
import json
import os
import pickle
import shlex
from pathlib import Path

import pytest

from bert_repro.__main__ import main
from bert_repro.files import ROOT

TRAIN = (ROOT / "studies" / "train.yaml").read_text()
TREE = "1\tword\t_\tX\tX\t_\t0\troot\t_\t_\n\n"
BERT = {
    "model_type": "bert", "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8,
    "vocab_size": 50, "max_position_embeddings": 16,
}  # fmt: skip
FILES = {
    "tag.yaml": '!!python/object/apply:os.system ["touch ran"]\n',
    "list.yaml": "- a\n- b\n",
    "empty.yaml": "",
    "latin.yaml": b"name: caf\xe9\n",
    "broken.yaml": "name: [train\n",
    "key.yaml": TRAIN.replace("resamples:", "resample:"),
    "type.yaml": TRAIN.replace("resamples: 1000", "resamples: many"),
    "gum.yaml": TRAIN.replace("wiki[240]", "gum:dev"),
    "task.yaml": TRAIN.replace("task: squad", "task: translation"),
    "twice.yaml": TRAIN + "resamples: 10\n",
    "seeds.yaml": TRAIN.replace("seeds: [1, 2]", "seeds: []", 1),
    "name.yaml": TRAIN.replace("name: train", "name: ../train"),
    "measure.yaml": TRAIN.replace("methods: [rsa,", "methods: [rsq,"),
    "frozen.yaml": TRAIN.replace("frozen_layers: [4] ", "frozen_layers: [4, 4] "),
    "rank.yaml": TRAIN.replace("rank: 64", "rank: many"),
    "epochs.yaml": TRAIN.replace("epochs: 12", "epochs: 0"),
    "tasks.yaml": TRAIN.replace("task: parsing", "task: nli"),
    "empty.conllu": "",
    "bad.conllu": "1\tword\n\n",
    "cycle.conllu": TREE.replace("\t0\t", "\t2\t").rstrip()
    + "\n"
    + TREE.replace("1\t", "2\t", 1).replace("\t0\t", "\t1\t"),
    "latin.conllu": TREE.replace("word", "caf\xe9").encode("latin-1"),
    "cut.conllu.gz": gzip.compress(TREE.encode() * 2000)[:60],
    "text.gz": b"no gzip",
    "bad.json": '{"data": 3}',
    "bad.jsonl": '{"text": 1}\n',
    "bad.tsv": "a\tb\n",
    "words.docx": "x",
    "file.bin": "x",
    "not.ipynb": "{}",
    "text.ipynb": "hello",
    "pickled/config.json": json.dumps(BERT),
    "pickled/pytorch_model.bin": pickle.dumps(print),
    "noconfig/README": "",
    "gpt/config.json": '{"model_type": "gpt2"}',
    "json/config.json": "{",
}
TABLE = (  # a command, variables of the environment before it; its exit code; our words in what it says, where ` ... ` leaves out others
    ("", 2, "COMMAND"),
    ("nosuchcommand", 2, "COMMAND"),
    ("run", 2, "notebook, output"),
    ("run similarity", 2, "output"),
    ("run nosuch out.ipynb", 1, "no notebook 'nosuch': give a path to an .ipynb, or one of "),
    ("run not.ipynb out.ipynb", 1, "not.ipynb is not a Jupyter notebook of format 4"),
    ("run text.ipynb out.ipynb", 1, "text.ipynb is not a Jupyter notebook of format 4"),
    ("run similarity out.html", 1, "out.html: give another path that ends in .ipynb"),
    ("run similarity out.ipynb -p nosuch 1", 1, "similarity.ipynb has no parameter 'nosuch': did you mean 'words'? It has model: str, "),
    ("run similarity out.ipynb -p words many", 1, "similarity.ipynb: cannot read 'many' as int: write it as in `-p words 500`"),
    ("run similarity out.ipynb -p words 1.5", 1, "similarity.ipynb: parameter words ( ... ) must be int, got "),
    ("run similarity out.ipynb -p words '\"500\"'", 1, "similarity.ipynb: parameter words ( ... ) must be int, got "),
    ("run similarity out.ipynb -p layers 3", 1, "similarity.ipynb: parameter layers ( ... ) must be list[int], got "),
    ("run similarity out.ipynb -p layers '[\"a\"]'", 1, "similarity.ipynb: parameter layers ( ... ) must be list[int], got "),
    ("run similarity out.ipynb -p corpora wiki[60]", 1, "similarity.ipynb: cannot read 'wiki[60]' as list[str]: write it as in `-p corpora"),
    ("run similarity out.ipynb -p words 1 -p words 2", 1, "parameter words is given twice: 1 and '2'; keep one"),
    ("run similarity out.ipynb -p second_sample yes", 1, "similarity.ipynb: cannot read 'yes' as bool: write it as in `-p second_sample true`"),
    ("run similarity out.ipynb -p words", 2, "-p/--parameter"),
    ("run similarity out.ipynb --json '{\"words\": NaN}'", 1, "similarity.ipynb: parameter words ( ... ) must be int, got "),
    ("run similarity out.ipynb --json '[1]'", 1, "--json takes one JSON object, got '[1]'"),
    ("run similarity out.ipynb --json '{'", 1, "--json takes one JSON object, got '{'"),
    ("run similarity out.ipynb --json '[[\"words\", 1]]'", 1, "--json takes one JSON object, got '[[\"words\", 1]]'"),
    ("run similarity out.ipynb --json '{\"word\": 1}'", 1, "similarity.ipynb has no parameter 'word': did you mean 'words'?"),
    ("run similarity out", 1, "out: give another path that ends in .ipynb"),
    ("run structural_probe out.ipynb -p rang 3", 1, "structural_probe.ipynb has no parameter 'rang': did you mean 'rank'? It has model: str, "),
    ("run structural_probe out.ipynb -p rank null", 1, "structural_probe.ipynb: parameter rank ( ... ) must be int, got "),
    ("run structural_probe out.ipynb -p seeds '[1, \"2\"]'", 1, "structural_probe.ipynb: parameter seeds ( ... ) must be list[int], got "),
    ("run edge_probe out.ipynb -p target upos", 1, "edge_probe.ipynb has no parameter 'target': did you mean 'targets'? It has model: str, "),
    ("run edge_probe out.ipynb -p targets upos", 1, "edge_probe.ipynb: cannot read 'upos' as list[str]: write it as in `-p targets '[\"upos\","),
    ("run finetune out.ipynb -p updates ten", 1, "finetune.ipynb: cannot read 'ten' as int: write it as in `-p updates 12`"),
    ("run finetune out.ipynb -p learning_rate '\"fast\"'", 1, "finetune.ipynb: parameter learning_rate ( ... ) must be float, got "),
    ("run hidden_states out.ipynb -p corpora '{\"a\": 1}'", 1, "hidden_states.ipynb: parameter corpora ( ... ) must be list[str], got "),
    ("run change_and_function out.ipynb -p nosuch x", 1, "change_and_function.ipynb has no parameter 'nosuch': did you mean 'study'? It has names: list[str],"),
    ("rerun nowhere/table", 1, "no manifest of a table 'table' in 'nowhere': there are none"),
    ("rerun results", 1, "no manifest of a table 'results' in '.': there are none"),
    ("report --tuned org/name", 1, "--tuned takes NAME=..., as in mnli=org/name, got 'org/name'"),
    ("report --tuned", 2, "--tuned"),
    ("compare paper minilm", 1, "no tables of 'paper': give a folder of tables, or a study with results/paper/tables or build/paper/tables; `make report` makes them"),
    ("report nowhere.yaml", 1, "no study file nowhere.yaml: there are studies/"),
    ("report tag.yaml", 1, "tag.yaml is not valid YAML: "),
    ("report list.yaml", 1, "list.yaml is not a study: expected `key: value` lines, got list"),
    ("report empty.yaml", 1, "empty.yaml is not a study: expected `key: value` lines, got NoneType"),
    ("report broken.yaml", 1, "broken.yaml is not valid YAML: "),
    ("report key.yaml", 1, "key.yaml: resample: ... (got 1000)"),
    ("report type.yaml", 1, "type.yaml: resamples: ... (got 'many')"),
    ("report task.yaml", 1, "task.yaml: tasks.1.task: unknown task: expected one of nli, ... (got 'translation')"),
    ("report seeds.yaml", 1, "seeds.yaml: tasks.0.seeds: ... (got [])"),
    ("report name.yaml", 1, "name.yaml: name: ... (got '../train')"),
    ("report measure.yaml", 1, "measure.yaml: similarity.methods.0: unknown measure: "),
    ("report frozen.yaml", 1, "frozen.yaml: tasks.0.frozen_layers: expected different numbers (got [4, 4])"),
    ("study rank.yaml", 1, "rank.yaml: structural_probe.rank: ... (got 'many')"),
    ("study epochs.yaml", 1, "epochs.yaml: structural_probe.epochs: ... (got 0)"),
    ("study tasks.yaml", 1, "tasks.yaml: study: each task may be given once"),
    ("report .", 1, "no study file .: there are studies/"),
    ("report STUDIES/train.yaml --jobs 0.5", 2, "--jobs ... '0.5'"),
    ("report STUDIES/train.yaml --jobs 99", 1, "--jobs must lie between 1 and the 2 cores of this machine, got 99"),
    ("report STUDIES/train.yaml --parts 0", 1, "--parts must be at least 1, got 0"),
    ("report gum.yaml", 1, "corpus gum:dev does not come with the clone: name the folder that holds ud_gum/en_gum-ud-dev"),
    ("BERT_REPRO_DATA=/nowhere report STUDIES/minilm.yaml", 1, "the data folder '/nowhere' does not exist: correct DATA=... or BERT_REPRO_DATA"),
    ("report STUDIES/train.yaml --base pickled", 1, "pickled has no tokenizer: expected tokenizer.json or vocab.txt beside the weights"),
    ("parameters", 2, "notebook"),
    ("parameters nosuch", 1, "no notebook 'nosuch': give a path to an .ipynb, or one of "),
    ("parameters text.ipynb", 1, "text.ipynb is not a Jupyter notebook of format 4"),
    ("fetch", 2, "MODEL|CORPUS|STUDY.yaml"),
    ("fetch ../up", 1, "'../up' is neither a folder, nor a hub id such as bert-base-uncased or org/name@revision, nor one"),
    ("fetch a/b/c", 1, "'a/b/c' is neither a folder, nor a hub id such as bert-base-uncased or org/name@revision, nor one"),
    ("fetch /nowhere/model", 1, "'/nowhere/model' is neither a folder, nor a hub id such as bert-base-uncased or org/name@revision,"),
    ("list nosuch", 2, "'nosuch' ... 'models'"),
    ("study nowhere.yaml", 1, "no study file nowhere.yaml: there are studies/"),
    ("study key.yaml", 1, "key.yaml: resample: ... (got 1000)"),
    ("study gum.yaml --files", 1, "corpus gum:dev does not come with the clone: name the folder that holds ud_gum/en_gum-ud-dev"),
    ("plan nowhere.yaml", 1, "no study file nowhere.yaml: there are studies/"),
    ("plan finetune --base tiny", 1, "finetune is a notebook, which takes -p alone: a study takes checkpoints, texts and a GPU"),
    ("plan finetune --gpu-tflops 5", 1, "finetune is a notebook, which takes -p alone"),
    ("plan STUDIES/train.yaml --jobs 0", 1, "at least 1 job must run at a time, got 0"),
    ("compare", 2, "first"),
    ("compare minilm", 1, "one set has nothing to be compared with: give a second one, or --model and --other-model"),
    ("compare nosuch minilm", 1, "no tables of 'nosuch': give a folder of tables, or a study with results/nosuch/tables or"),
    ("compare . minilm", 1, "no tables of '.': give a folder of tables, or a study with results/./tables or build/./tables;"),
    ("compare minilm minilm --model nosuch", 1, "the first set has no model 'nosuch': it has base, "),
    ("compare minilm --model nli-1 --other-model nosuch", 1, "the second set has no model 'nosuch': it has base, "),
    ("compare minilm minilm --tolerance -1", 1, "tolerance must be at least 0, got -1.0: 0.02 is two points of a share"),
    ("compare minilm minilm --tolerance a", 2, "--tolerance ... 'a'"),
    ("states", 2, "action"),
    ("states rm nosuch", 1, "the store has no entry 'nosuch': `python -m bert_repro states ls` lists them"),
    ("states rm ../x", 1, "the store has no entry '../x': `python -m bert_repro states ls` lists them"),
    ("states rm nowhere.yaml", 1, "no study file nowhere.yaml: there are studies/"),
    ("states compute tiny", 2, "corpora"),
    ("states compute tiny nosuch", 1, "unknown corpus 'nosuch': expected one of ['ewt', "),
    ("states compute tiny gum:dev", 1, "corpus gum:dev does not come with the clone: name the folder that holds ud_gum/en_gum-ud-dev"),
    ("states compute tiny ewt:nosuch", 1, "corpus 'ewt' has no split 'nosuch': write one of ['ewt:train', "),
    ("states compute tiny ewt:dev[0]", 1, "ewt:dev[0] asks for 0 items, the corpus has 2001"),
    ("states compute tiny ewt:dev[x]", 1, "cannot read the corpus reference 'ewt:dev[x]': write name, name:split, name:split[500] or"),
    ("states compute tiny ewt:dev[-9999]", 1, "ewt:dev[-9999] asks for 9999 items, the corpus has 2001"),
    ("states compute tiny nowhere.conllu", 1, "no corpus file nowhere.conllu"),
    ("states compute tiny empty.conllu", 1, "empty.conllu holds no sentence: an empty corpus cannot be used"),
    ("states compute tiny bad.conllu", 1, "bad.conllu:1: a CoNLL-U line has 10 tab-separated columns, this one has 2: '1\\tword'"),
    ("states compute tiny cycle.conllu", 1, "cycle.conllu:1: sentence 'line-1' is not a tree: 0 roots"),
    ("states compute tiny latin.conllu", 1, "latin.conllu:1: cannot be read as UTF-8 text from here: "),
    ("states compute tiny cut.conllu.gz", 1, "cannot be read as UTF-8 text from here: "),
    ("states compute tiny text.gz", 1, "unknown corpus 'text.gz': expected one of ['ewt', "),
    ("states compute tiny bad.json", 1, "bad.json is not SQuAD-format JSON (data > paragraphs > context, qas > answers): "),
    ("states compute tiny bad.jsonl", 1, "bad.jsonl:1: not an edge-probing record (text, targets > span1, span2 or none, label), nor a pair"),
    ("states compute tiny bad.tsv", 1, "bad.tsv:1: expected the columns premise, hypothesis, label, or paragraph; got ['a', 'b']"),
    ("states compute tiny words.docx", 1, "unknown corpus 'words.docx': expected one of ['ewt', "),
    ("states compute tiny wiki[60] --pooling max", 1, "pooling must be 'mean' or 'first', got 'max'"),
    ("states compute tiny wiki[60] --dtype float64", 1, "dtype must be 'float16' or 'float32', got 'float64'"),
    ("states compute tiny wiki[60] --pairs both", 1, "pairs must be 'together' or 'apart', got 'both'"),
    ("states compute tiny wiki[60] --max-length 3", 1, "max_length must lie between 4 and 512 for tiny, got 3"),
    ("states compute tiny wiki[60] --max-length 513", 1, "max_length must lie between 4 and 512 for tiny, got 513"),
    ("states compute tiny wiki[60] --part 0/2", 1, "part 0 of 2 there is not: give the first as 1/2"),
    ("states compute tiny wiki[60] --part 2", 1, "--part takes K/N, e.g. 2/8 for the second of eight parts, got '2'"),
    ("states compute 'untrained:no such!' wiki[60]", 1, "'no such!' is neither a folder, nor a hub id such as bert-base-uncased"),
    ("states rm ''", 1, "the store has no entry ''"),
    ("states compute tiny wiki[60] --max-length ten", 2, "--max-length ... 'ten'"),
    ("states compute tiny wiki[60] --part 9/8", 1, "part 9 of 8 there is not: give the first as 1/8"),
    ("states compute gpt wiki[60]", 1, "gpt/config.json describes a model of type 'gpt2': supported are bert, roberta, xlm-roberta,"),
    ("BERT_REPRO_STORE_GB=nan states compute tiny wiki[60]", 1, "BERT_REPRO_STORE_GB must be a number of gigabytes above 0, e.g. 100, got 'nan'"),
    ("report latin.yaml", 1, "latin.yaml is not valid YAML: "),
    ("report twice.yaml", 1, "twice.yaml is not valid YAML: line 2: resamples occurs twice"),
    ("BERT_REPRO_DATA=file.bin report STUDIES/minilm.yaml", 1, "the data folder ... file.bin' does not exist: correct DATA=... or BERT_REPRO_DATA"),
    ("fetch noconfig", 1, "noconfig is not a checkpoint: it has no config.json"),
    ("fetch gpt", 1, "gpt/config.json describes a model of type 'gpt2': supported are bert, roberta,"),
    ("fetch json", 1, "json/config.json is not valid JSON"),
    ("fetch pickled", 1, "pickled has no tokenizer: expected tokenizer.json or vocab.txt"),
    ("BERT_REPRO_STORE_GB=lots states ls", 1, "BERT_REPRO_STORE_GB must be a number of gigabytes above 0, e.g. 100, got 'lots'"),
    ("BERT_REPRO_STORE_GB=-1 states ls", 1, "BERT_REPRO_STORE_GB must be a number of gigabytes above 0, e.g. 100, got '-1'"),
    ("BERT_REPRO_CACHE=file.bin states compute tiny wiki[60]", 1, "file.bin"),
    ("compare minilm minilm --csv nowhere/out.csv", 1, "'nowhere'"),
)  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with everything that can be wrong with a file."""
    folder = tmp_path_factory.mktemp("wrong")
    for name, content in FILES.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(("line", "code", "message"), TABLE, ids=[line for line, *_ in TABLE])
def test_a_wrong_command_is_refused_in_one_line(folder, monkeypatch, capsys, line, code, message):
    monkeypatch.chdir(folder)
    monkeypatch.delenv("BERT_REPRO_DATA", raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 1}, raising=False)
    words = shlex.split(line.replace("STUDIES", str(ROOT / "studies")))
    while words and words[0].partition("=")[0].isupper():
        monkeypatch.setenv(*words.pop(0).split("=", 1))
    try:
        ended = main(words)
    except SystemExit as wrong_usage:
        ended = wrong_usage.code
    told, said = capsys.readouterr()
    *before, last = said.splitlines()
    assert (ended, told) == (code, "") and all(part in last for part in message.split(" ... "))
    assert last.startswith("bert_repro: ") and not before if code == 1 else before[0].startswith("usage: ")
    assert not Path("ran").exists() and not Path("out.ipynb").exists()


def test_the_table_has_enough_of_every_command():
    commands = [next((word for word in line.split() if "=" not in word), "") for line, *_ in TABLE]
    assert len(TABLE) >= 60 and len({line for line, *_ in TABLE}) == len(TABLE)
    for command in ("run", "rerun", "report", "parameters", "fetch", "list", "study", "plan", "compare", "states"):
        assert command in commands


def test_only_debug_shows_a_traceback(folder, monkeypatch):
    monkeypatch.chdir(folder)
    with pytest.raises(ValueError, match=r"key\.yaml: resample: "):
        main(["--debug", "report", "key.yaml"])
