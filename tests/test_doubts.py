"""Texts that cannot be meant are told with the count, or refused; texts that are as texts are, are not."""

import json

import pytest
from planted import bank_of
from test_readers import file, line

from bert_repro import corpora
from bert_repro.checkpoints import open as checkpoint
from bert_repro.finetune import running_text


def tree(name, *forms, tag="NOUN"):
    words = [line(number, form, number - 1, "root" if number == 1 else "dep") for number, form in enumerate(forms, 1)]
    return f"# sent_id = {name}\n" + "\n".join(words).replace("\tX\tX\t", f"\t{tag}\t_\t") + "\n\n"


def plain(count):
    return "".join(f"Bird {number} sings.\n" for number in range(count))


@pytest.mark.parametrize(("withheld", "fine"), [(1, 9), (2, 2), (3, 7)])
def test_withheld_forms_are_counted(tmp_path, withheld, fine):
    path = file(tmp_path, "a.conllu", "".join(tree(n, *"_" * (n + 2)) for n in range(withheld)) + "".join(tree(n, f"a{n}", "_") for n in range(fine)))  # fmt: skip
    assert corpora.doubts([path]) == [
        f"{path}: {withheld} of {withheld + fine} sentences have no words but `_`: their forms are withheld."
    ]


def test_a_treebank_whose_forms_are_withheld_is_refused(tmp_path):
    path = file(tmp_path, "a.conllu", tree("a", "_", "_") + tree("b", "_", "_", "_") + tree("c", "a"))
    with pytest.raises(
        ValueError, match="a.conllu: 2 of 3 sentences have no words but `_`: their forms are withheld, and"
    ):
        corpora.doubts([path])


@pytest.mark.parametrize(("again", "told"), [(10, False), (11, True), (80, True)])
def test_items_that_repeat_others_are_counted_where_they_are_many(tmp_path, again, told):
    path = file(tmp_path, "a.txt", plain(100 - again) + "Bird 0 sings.\n" * again)
    message = f"{path}: {again} of 100 items repeat others, {100 - again} are different: intervals are too narrow"
    assert [doubt.startswith(message) for doubt in corpora.doubts([path])] == [True] * told


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.txt", "Birds sing at dawn.\n" * 200),
        ("a.tsv", "premise\thypothesis\tlabel\n" + "It rained.\tIt is wet.\tneutral\n" * 3),
        ("a.conllu", tree("a", "Birds", "sing") * 2),
    ],
)
def test_a_text_of_one_item_again_and_again_is_refused(tmp_path, name, content):
    path = file(tmp_path, name, content)
    with pytest.raises(
        ValueError, match=rf"{name}: all \d+ items are equal: there is nothing to compare, and no interval"
    ):
        corpora.doubts([path])
    assert corpora.doubts([f"{path}[1]"]) == []  # one sentence may be looked at


@pytest.mark.parametrize(("shared", "told"), [(2, False), (3, True), (20, True)])
def test_what_was_learned_from_is_counted_in_the_other_texts(tmp_path, shared, told):
    train = file(tmp_path, "train.txt", plain(50))
    test = file(tmp_path, "test.txt", plain(shared) + "".join(f"Rain {n} fell.\n" for n in range(20 - shared)))
    message = f"{test}: {shared} of 20 items are in {train} too, which is learned from: scores are too good."
    assert corpora.doubts([train, test, train, ""], train) == [message] * told
    assert corpora.doubts([train, test]) == []


def test_words_that_are_written_as_special_tokens_are_told_where_a_text_comes_in_words(tmp_path):
    told = corpora.doubts([file(tmp_path, "a.conllu", tree("a", "a", "[SEP]", "<pad>") + tree("b", "b"))])
    assert len(told) == 1 and ": 2 words are written as special tokens are" in told[0]
    (only,) = corpora.load(file(tmp_path, "a.txt", "A [SEP] b <pad> c.")).items
    assert only.words == ("A", "[", "SEP", "]", "b", "<", "pad", ">", "c", ".") and corpora.doubts([file(tmp_path, "a.txt", "A [SEP].")]) == []  # fmt: skip


def test_special_tokens_in_running_text_are_text_to_the_masked_words():
    tokenizer = checkpoint("tiny").tokenizer
    (encoded,) = running_text._as_text(tokenizer.backend_tokenizer, ["a [SEP] b"])
    assert tokenizer.sep_token_id not in encoded.ids and "[" in encoded.tokens
    assert tokenizer.sep_token_id in tokenizer("a [SEP] b", add_special_tokens=False)["input_ids"]  # as it was


def asked(tmp_path, context, *answers):
    whole = {"data": [{"paragraphs": [{"context": context, "qas": [
        {"id": a, "question": f"{a}?", "answers": [{"text": a, "answer_start": context.index(a)}]} for a in answers
    ]}]}]}  # fmt: skip
    return file(tmp_path, "q.json", json.dumps(whole))


def test_answers_inside_words_are_counted(tmp_path):
    path = asked(tmp_path, "세종대왕은 서울에서 한글을 만들었다.", "세종대왕", "서울", "한글을")
    assert corpora.doubts([path]) == [
        f"{path}: 2 of 3 questions have no answer that begins and ends where a word does: no span of words can be exactly right for them."
    ]
    assert corpora.doubts([asked(tmp_path, "长城全长约21196公里。", "长城", "21196公里")]) == []


def test_a_folder_of_running_text_is_one_text(tmp_path):
    for name in ("a.txt", "b.txt.gz"):
        file(tmp_path, name, "Birds sing at dawn.\n")
    with pytest.raises(ValueError, match="all 2 items are equal"):
        corpora.doubts([str(tmp_path)])


@pytest.mark.parametrize(
    "references", [["ewt:dev", "ewt:test"], ["pud"], ["wiki[300]", "mnli:dev[300]", "squad:dev[300]"]]
)
def test_the_texts_of_the_clone_raise_no_doubt(references):
    assert corpora.doubts(references, references[0]) == []


@pytest.mark.parametrize(
    ("tag", "rule", "message"),
    [
        ("NOUN", "upos", "The rule punctuation=upos finds 0 of the 2 words that are punctuation marks in this treebank of 7 words"),
        ("PUNCT", "xpos", "The rule punctuation=xpos finds 0 of the 2 words"),
        ("PUNCT", "upos", ""),
        ("NOUN", "none", ""),
    ],
)  # fmt: skip
def test_a_rule_for_punctuation_that_does_not_fit_a_treebank_is_told(tmp_path, tag, rule, message):
    told = bank_of(corpora.load(file(tmp_path, "a.conllu", tree("a", "Да", "он", ".", tag=tag) + tree("b", "我", "来", "了", "。", tag=tag))).items, punctuation=rule).doubts  # fmt: skip
    assert [doubt.startswith(message) for doubt in told] == [True] * bool(message)


def test_a_treebank_without_punctuation_needs_no_rule(tmp_path):
    assert bank_of(corpora.load(file(tmp_path, "a.conllu", tree("a", "oh", "yes"))).items).doubts == []


@pytest.mark.slow
def test_doubts_stand_in_the_notebook_and_in_the_manifest(tmp_path, executed, capsys):
    text = file(tmp_path, "half.txt", plain(40) + "Bird 0 sings.\n" * 20)
    executed("hidden_states", corpora=[text], examples=[], words=100, output=str(tmp_path / "a.parquet"))
    (told,) = json.loads((tmp_path / "a.manifest.json").read_text())["warnings"]
    assert told.startswith(f"{text}: 20 of 60 items repeat others") and f"Warning: {told[-40:]}"[-40:] in capsys.readouterr().out  # fmt: skip
    once = file(tmp_path, "once.txt", "Birds sing at dawn.\n" * 200)
    with pytest.raises(ValueError, match="all 200 items are equal"):
        executed("hidden_states", corpora=[once])


def test_two_texts_of_one_name_are_refused(tmp_path):
    for folder, words in (("a", "One. Two."), ("b", "Three. Four.")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "t.txt").write_text(words)
    one, other = (str(tmp_path / folder / "t.txt") for folder in "ab")
    with pytest.raises(
        ValueError, match="a/t.txt and .*b/t.txt would have one name in tables: give one of the files another name"
    ):
        corpora.doubts([one, "wiki[5]", other])
    (tmp_path / "a" / "b").mkdir()
    (tmp_path / "a" / "b" / "t.txt").write_text("Five. Six.")
    with pytest.raises(ValueError, match="a/b and .*/b would have one name in tables"):
        corpora.doubts([str(tmp_path / "a" / "b"), str(tmp_path / "b")])
    assert corpora.doubts([one, one, f"{other}[1]", "", "ewt:dev[5]"]) == []
