"""Running text: which document a sentence is part of, and texts by documents and paragraphs, raw where the file has them raw."""

import pytest
from test_readers import SMALL, file, load

from bert_repro import corpora, readers

TEXT = "\n\nOne two. Three!\nFour.\n\n \nFive.\n"


def documents(path):
    return [(item.id, item.document) for item in load(path).items]


def test_blank_lines_separate_the_documents_of_a_text(tmp_path):
    assert documents(file(tmp_path, "t.txt.gz", TEXT)) == [("3.1", "1"), ("3.2", "1"), ("4.1", "1"), ("7.1", "2")]


def test_a_title_is_the_document_of_a_paragraph(tmp_path):
    rows = "title\tparagraph\nA\tOne. Two.\nA\tThree.\nB\tFour.\n"
    assert documents(file(tmp_path, "p.tsv", rows)) == [("2.1", "A"), ("2.2", "A"), ("3.1", "A"), ("4.1", "B")]
    alone = [("2.1", "2"), ("3.1", "3")]
    assert documents(file(tmp_path, "p.tsv", "paragraph\nOne.\nTwo.\n")) == alone


def test_a_treebank_says_where_a_document_begins(tmp_path):
    block = SMALL.split("\n\n")[1] + "\n"
    text = block + f"# newdoc id = a b\n{block}{block}#newdoc\n{block}"
    found = [document for _, document in documents(file(tmp_path, "t.conllu", text))]
    assert found == ["", "a b", "a b", "line-8"]


def test_the_document_changes_no_digest(tmp_path):
    plain = "# sent_id = s\n" + SMALL.split("\n\n")[1]
    named = "# newdoc id = a\n" + plain
    paths = [file(tmp_path, name, text) for name, text in [("a.conllu", plain), ("b.conllu", named)]]
    assert corpora.digest(paths[0]) == corpora.digest(paths[1])
    assert [corpora.load(path).items[0].document for path in paths] == ["", "a"]


def test_an_article_is_a_document():
    text = "_START_ARTICLE_\nA\n_START_PARAGRAPH_\nOne. Two._NEWLINE_Three.\n"
    items = list(readers.article("Q1", text, {"titles": 0, "headings": 0}))
    assert [item.document for item in items] == ["Q1"] * 3


@pytest.mark.parametrize(("reference", "count"), [("ewt:dev", 318), ("pud", None), ("gum:dev", 30)])
def test_real_treebanks_have_their_documents(real_data, monkeypatch, reference, count):
    monkeypatch.setenv("BERT_REPRO_DATA", str(real_data))
    names = {item.document for item in corpora.load(reference).items}
    assert "" not in names and (count is None or len(names) == count)
