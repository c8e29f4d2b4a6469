"""Running text: which document a sentence is part of, and texts by documents and paragraphs, raw where the file has them raw."""

import pytest
from test_readers import SMALL, file, load

from bert_repro import corpora
from bert_repro.corpora import readers, sources

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
    title, *records = readers.article("Q1", text)
    assert title == "titles" and [record().document for record in records] == ["Q1"] * 3


@pytest.mark.parametrize(("reference", "count"), [("ewt:dev", 318), ("pud", None), ("gum:dev", 30)])
def test_real_treebanks_have_their_documents(real_data, monkeypatch, reference, count):
    monkeypatch.setenv("BERT_REPRO_DATA", str(real_data))
    names = {item.document for item in corpora.load(reference).items}
    assert "" not in names and (count is None or len(names) == count)


def test_a_text_and_a_table_are_given_raw(tmp_path):
    lines = ["A  b,c.  D e!", "F g", "", "H"]
    text = file(tmp_path, "t.txt", "\n".join(lines))
    assert list(corpora.paragraphs(text)) == [("1", lines[0]), ("1", lines[1]), ("2", "H")]
    table = file(tmp_path, "p.tsv.gz", "title\tparagraph\nA\tOne  two. Three.\nA\t \nB\tFour\n")
    assert list(corpora.paragraphs(table)) == [("A", "One  two. Three."), ("B", "Four")]


def test_a_registered_table_is_filtered_as_its_sentences_are(tmp_path, monkeypatch):
    file(tmp_path, "p.tsv", "source\tparagraph\na\tOne.\nb\tTwo.\n")
    source = sources.Source(
        "data", {"all": "p.tsv"}, "none", False, sources.Origin("nobody", "nowhere"), where={"all": {"source": "b"}}
    )
    monkeypatch.setitem(corpora.CORPORA, "mine", source)
    monkeypatch.setenv("BERT_REPRO_DATA", str(tmp_path))
    assert list(corpora.paragraphs("mine")) == [("3", "Two.")]


def test_a_sentence_of_a_treebank_is_a_paragraph(tmp_path):
    path = file(tmp_path, "t.conllu", "# newdoc id = d\n" + SMALL)
    assert list(corpora.paragraphs(path)) == [("d", "Do n't go , he said ."), ("d", "New York")]


def test_a_folder_gives_its_files_by_name(tmp_path):
    file(tmp_path, "b.txt", "B")
    file(tmp_path, "a.txt.gz", "A\n\nC")
    file(tmp_path, "README.md", "no text")
    expected = [("a.txt.gz/1", "A"), ("a.txt.gz/2", "C"), ("b.txt/1", "B")]
    assert list(corpora.paragraphs(str(tmp_path))) == expected
    assert len(list(corpora.paragraphs(f"{tmp_path}[2]"))) == 2


def test_a_draw_counts_documents(tmp_path):
    path = file(tmp_path, "t.txt", "\n\n".join(f"{n}\n{n} again" for n in range(30)))
    everything = list(corpora.paragraphs(path))
    drawn, others = (list(corpora.paragraphs(f"{path}[{count}]")) for count in (7, -7))
    assert len(drawn) == 14 and drawn == [paragraph for paragraph in everything if paragraph in drawn]
    assert sorted(drawn + others) == sorted(everything)
    by_items = corpora.load(file(tmp_path, "u.txt", "\n".join(map(str, range(30)))) + "[7]")
    assert [item.words[0] for item in by_items.items] == [text for _, text in drawn[::2]]  # the same rule and seed


@pytest.mark.parametrize(
    ("name", "content", "draw", "message"),
    [
        ("p.tsv", "premise\thypothesis\tlabel\nA\tB\tneutral\n", "", "p.tsv has no running text: expected a .txt file"),
        ("s.jsonl", '{"text": "a b", "targets": [{"span1": [0, 1], "label": "x"}]}', "", "s.jsonl has no running text"),
        ("t.txt", "One.\n\nTwo.", "[3]", r"t.txt\[3\] asks for 3 documents, the corpus has 2"),
        ("t.txt", "\n \n", "", "t.txt holds no sentence: an empty corpus cannot be used"),
        ("t.rst", "One.", "", "unknown corpus '.*t.rst'"),
    ],
)
def test_what_has_no_running_text_is_refused(tmp_path, name, content, draw, message):
    with pytest.raises(ValueError, match=message):
        corpora.paragraphs(file(tmp_path, name, content) + draw)


def test_a_folder_without_text_is_refused(tmp_path):
    with pytest.raises(ValueError, match="holds no text: expected .txt or .txt.gz files in it"):
        corpora.paragraphs(str(tmp_path))
