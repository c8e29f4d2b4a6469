"""Capitals and accents: read as a checkpoint's files say, or as its vocabulary has them; a vocabulary that does not fit is told."""

import json
import unicodedata
from pathlib import Path

import pytest
from lookalikes import PIECES, made, wordpieces
from tokenizers import Tokenizer, normalizers

from bert_repro import alignment, checkpoints, finetune
from bert_repro.__main__ import main
from bert_repro.checkpoints import Checkpoint

CASED = ["The", "the", "Zürich", "naïve", "cafe"]
UNCASED = ["the", "zurich", "naive", "cafe"]
ACCENTED = ["the", "zürich", "naïve", "café", "가"]
KEPT, LOWER, ACCENTS = "capitals kept, accents kept", "lower-cased, accents off", "lower-cased, accents kept"


def cut(folder, *words):
    return Checkpoint(folder).tokenizer.tokenize(" ".join(words))


@pytest.mark.parametrize(
    ("words", "config", "expected", "letters"),
    [
        (CASED, None, ["The", "Zürich", "naïve"], KEPT),
        (CASED, {}, ["The", "Zürich", "naïve"], KEPT),
        (CASED, {"do_lower_case": None, "model_max_length": 64}, ["The", "Zürich", "naïve"], KEPT),
        (CASED, {"strip_accents": True}, ["The", "[UNK]", "[UNK]"], "capitals kept, accents off"),
        (CASED, {"do_lower_case": False}, ["The", "Zürich", "naïve"], KEPT),
        (CASED, {"do_lower_case": True}, ["the", "[UNK]", "[UNK]"], LOWER),  # its own files say so
        (UNCASED, None, ["the", "zurich", "naive"], LOWER),
        (UNCASED, {"do_lower_case": False}, ["[UNK]", "[UNK]", "[UNK]"], KEPT),
        (ACCENTED, None, ["the", "zürich", "naïve"], ACCENTS),
        (ACCENTED, {"do_lower_case": True}, ["the", "[UNK]", "[UNK]"], LOWER),
        (ACCENTED, {"do_lower_case": True, "strip_accents": False}, ["the", "zürich", "naïve"], ACCENTS),
    ],
)
def test_capitals_and_accents_are_read_as_files_say_or_else_as_the_vocabulary_has_them(
    tmp_path, words, config, expected, letters
):
    folder = wordpieces(made(tmp_path / "model"), words, config)
    assert cut(folder, "The", "Zürich", "naïve") == expected
    opened = Checkpoint(folder)
    assert alignment.letters(opened.tokenizer) == letters
    assert opened.by_vocabulary == (not config or config.get("do_lower_case") is None)


def test_a_vocabulary_alone_is_read_as_beside_other_files(tmp_path):
    for words, expected in ((CASED, ["The", "Zürich"]), (UNCASED, ["the", "zurich"]), (ACCENTED, ["the", "zürich"])):
        folder = wordpieces(made(tmp_path / words[1]), words)
        (folder / "special_tokens_map.json").unlink()
        assert cut(folder, "The", "Zürich") == expected


def test_syllables_that_accents_would_be_taken_off_stay_whole(tmp_path):
    assert cut(wordpieces(made(tmp_path / "model"), ACCENTED), "가") == ["가"]


@pytest.mark.parametrize("lower", [True, False])
def test_what_tokenizer_json_says_holds_where_its_config_does_not(tmp_path, lower):
    folder = wordpieces(made(tmp_path / "model"), CASED, {"tokenizer_class": "BertTokenizer"})
    tokenizer = Tokenizer.from_str(Checkpoint(folder).tokenizer.backend_tokenizer.to_str())
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=lower)
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "vocab.txt").unlink()
    assert cut(folder, "The", "cafe") == (["the", "cafe"] if lower else ["The", "cafe"])
    assert not Checkpoint(folder).by_vocabulary
    tokenizer.normalizer = None
    tokenizer.save(str(folder / "tokenizer.json"))
    assert cut(folder, "The", "cafe") == ["The", "cafe"] and Checkpoint(folder).by_vocabulary


def test_states_from_before_a_vocabulary_decided_are_not_those_of_today(tmp_path):
    said, unsaid = (
        wordpieces(made(tmp_path / name), UNCASED, config)
        for name, config in (("a", {"do_lower_case": True}), ("b", {}))
    )
    assert Checkpoint(said).tokenizer_digest == Checkpoint(said)._digest(Checkpoint(said).tokenizer_files)
    assert Checkpoint(unsaid).tokenizer_digest != Checkpoint(unsaid)._digest(Checkpoint(unsaid).tokenizer_files)


@pytest.mark.slow
def test_the_card_says_what_is_done_to_letters_and_who_says_so(tmp_path):
    from bert_repro.corpora import Sentence

    words = [*CASED, *(piece for piece in PIECES[5:] if piece not in CASED)][: len(PIECES) - 5]
    folder = wordpieces(made(tmp_path / "model"), words)
    about = finetune.card(checkpoints.open(str(folder)), [Sentence("s", ("The", "cafe"))]).about
    assert (about["letters"], about["letters, as said by"]) == (KEPT, "its vocabulary")
    assert about["vocabulary"].endswith("cased") and not about["vocabulary"].endswith("uncased")


# What does not fit

LETTERS = "abcdefghijklmnopqrstuvwxyz"
SPELT = [*LETTERS, *(f"##{letter}" for letter in LETTERS)]
GERMAN = "zwölf größere boxkämpfer jagen viktor quer über den hübschen sylter deich".split()
WHOLE = [*GERMAN, *SPELT]
OTHER = "most likely its vocabulary is that of another language or script, or its tokenizer files belong to another checkpoint"


def decomposed(words):
    return [unicodedata.normalize("NFD", word) for word in words]


@pytest.mark.parametrize(
    ("pieces", "config", "text", "said"),
    [
        (WHOLE, {"do_lower_case": False}, GERMAN, ""),
        (WHOLE, {"do_lower_case": False}, decomposed(GERMAN), "as [UNK]; most likely the text has letters and accents apart (NFD), and its vocabulary together: write the text in NFC"),
        ([*decomposed(GERMAN), *SPELT], {"do_lower_case": False}, GERMAN, "most likely the text has letters and accents together (NFC), and its vocabulary apart: write the text in NFD"),
        (WHOLE, {"do_lower_case": False}, [w.upper() for w in GERMAN if "ß" not in w], "most likely its vocabulary has no capital letters, and its tokenizer keeps them: set do_lower_case to true"),
        (["A", *WHOLE], {"do_lower_case": False}, [w.upper() for w in GERMAN if "ß" not in w], "most likely the text is written in capital letters"),
        (["zwolf", "uber", *WHOLE[3:]], {"do_lower_case": False}, ["zwölf", "über", "über"], "most likely its vocabulary has no accents, and its tokenizer keeps them: set strip_accents"),
        (WHOLE, {"do_lower_case": False}, ["ｊａｇｅｎ", "ｑｕｅｒ", "ｄｅｉｃｈ"], "most likely the text is in other forms of letters, such as wide ones or ligatures: write it in NFKC"),
        (WHOLE, {"do_lower_case": False}, "Это предложение написано по русски".split(), OTHER),
        (SPELT, {"do_lower_case": False}, "these words are spelled here".split(), "100% of the longer words in single characters; " + OTHER),
        ([*"एकअछवतयहसपढ", *(f"##{c}" for c in "एकअच्छावतयिहैसेपढ़्मंा")], {"do_lower_case": False}, ["वाक्य", "पढ़ते"], "; " + OTHER),
        (["你", "好", "吗", "世", "界"], {"do_lower_case": False}, ["你好吗世界", "世界"], ""),  # ideographs are single anyway
        ([*(word.capitalize() for word in GERMAN), *GERMAN], {"do_lower_case": True, "strip_accents": False}, GERMAN, "capital letters as small ones, although "),
    ],
)  # fmt: skip
def test_a_vocabulary_that_does_not_fit_a_text_is_told_with_the_likely_cause(tmp_path, pieces, config, text, said):
    tokenizer = Checkpoint(wordpieces(made(tmp_path / "model"), pieces, config)).tokenizer
    found = alignment.misfit(tokenizer, [text])
    assert (said in found) if said else (found == "")


def test_shares_are_those_that_were_counted_by_hand(tmp_path):
    tokenizer = Checkpoint(wordpieces(made(tmp_path / "model"), ["word", *SPELT], {"do_lower_case": False})).tokenizer
    # 1 + 5 + 1 + 2 pieces, of which one is [UNK]; of three long words one is spelled; two letters are too few to count
    assert alignment.fit(tokenizer, [["word", "other"], ["дома", "ab"]]) == (1 / 9, 1 / 3)
    assert alignment.fit(tokenizer, [["word"], []]) == (0, 0)


def test_english_fits_the_encoders_of_our_own():
    assert checkpoints.ready(["tiny", ""], ["ewt:dev[60]", "", "wiki[20]", "mnli:dev[20]"]) == []


@pytest.fixture
def foreign(tmp_path):
    path = tmp_path / "foreign.txt"
    path.write_text("Это предложение написано по русски\n" * 60, encoding="utf-8")
    return str(path)


def test_every_notebook_that_reads_text_says_so_in_its_first_cell(foreign):
    said = checkpoints.ready(["tiny"], ["ewt:dev[5]", foreign, foreign])
    assert said == [f"tiny reads of {foreign} 100% of the wordpieces as [UNK]; {OTHER}."]


def test_a_folder_of_running_text_is_looked_at_as_well(foreign):
    folder = str(Path(foreign).parent)
    assert checkpoints.ready(["tiny"], [folder]) == [
        f"tiny reads of {folder} 100% of the wordpieces as [UNK]; {OTHER}."
    ]


def test_a_text_is_looked_at_once_for_all_its_draws_and_all_models_of_one_tokenizer(foreign, monkeypatch):
    seen, models = [], ["tiny", "untrained:tiny"]
    look = checkpoints._misfit
    monkeypatch.setattr(checkpoints, "_misfit", lambda tokenizer, text: seen.append(text) or look(tokenizer, text))
    texts = [f"{foreign}[5]", f"{foreign}[-5]", f"{foreign}~ewt:dev[3]", "ewt:dev[3]"]
    said = checkpoints.ready(models, texts)
    assert seen == [foreign, "ewt:dev"]
    assert [line.split(" 100%")[0] for line in said] == [
        f"{model} reads of {text}" for model in models for text in texts[:3]
    ]


def test_what_was_looked_at_is_known_in_the_next_run_and_a_changed_file_is_looked_at_anew(tmp_path, monkeypatch):
    folder, text = wordpieces(made(tmp_path / "model"), UNCASED), tmp_path / "text.txt"
    text.write_text("the naive cafe")
    models = [str(folder)], [str(text)]
    assert checkpoints.ready(*models) == []
    with monkeypatch.context() as patch:
        patch.setattr(Checkpoint, "tokenizer", property(lambda self: pytest.fail("read again")))
        patch.setattr(Checkpoint, "weights", lambda self: pytest.fail("read again"))
        assert checkpoints.ready(*models) == []
    text.write_text("\u4e00 ".join("xyzabc" * 9))
    assert "of the wordpieces as [UNK]" in checkpoints.ready(*models)[0]
    (weights,) = folder.glob("*.safetensors")
    weights.write_bytes(weights.read_bytes()[:90])
    with pytest.raises(ValueError, match=weights.name):
        checkpoints.ready([str(folder)], [])


@pytest.mark.slow
def test_a_command_that_reads_states_says_so(foreign, capfd):
    assert main(["states", "compute", "tiny", foreign]) == 0
    assert f"Warning: tiny reads of {foreign} " in capfd.readouterr().err


def test_notebooks_look_at_their_models_and_texts_before_anything_else():
    from bert_repro.files import ROOT

    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        codes = ["".join(c["source"]) for c in json.loads(path.read_text())["cells"] if c["cell_type"] == "code"]
        if "\nmodel: str" in f"\n{codes[0]}":
            assert codes[1].splitlines()[-1].startswith("run.warn(checkpoints.ready([model"), path.name
