"""An exhibit is a figure that says what it shows, to every reader, and where its numbers come from."""

import ast
import io
import json

import pandas as pd
import pytest

from bert_repro import figures
from bert_repro.figures import exhibits
from bert_repro.figures.gallery import Picture
from bert_repro.files import ROOT
from bert_repro.results import tables

NAMES = (
    ("states", "base", None),
    ("similarity", "nli-1", "base"),
    ("similarity", "nli-2", "base"),
    ("similarity", "nli-2", "nli-1"),
)
DRAWN = [name for name in vars(Picture) if hasattr(figures, name)]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Tables' manifests of four runs."""
    monkeypatch.setattr(exhibits.provenance, "ROOT", tmp_path)
    for notebook, name, reference in NAMES:
        given = {"name": name, "study": "minilm", "layers": []} | ({"reference_name": reference} if reference else {})
        made = {"notebook": notebook, "commit": "0123456789", "parameters": given}
        stem = "-".join(filter(None, (notebook, reference, name)))
        (tmp_path / f"{stem}.manifest.json").write_text(json.dumps(made))
    return tmp_path


def rows(model="nli-1", reference="base"):
    return tables.tidy(
        {"notebook": "similarity", "role": "score", "model": model, "task": "nli", "seed": 1, "reference_model": reference,
         "layer": layer, "metric": "similarity", "value": 1 - layer / 10, "replicates": [1.0]} for layer in range(3)
    )  # fmt: skip


def shown(folder, table=None, caption="What is seen."):
    table = rows() if table is None else table
    return exhibits.Exhibit(figures.layer_curves(table, title="A title"), table, "one", caption, folder)


def test_the_page_has_caption_data_notebook_runs_commit_and_commands(folder):
    bundle = shown(folder)._repr_mimebundle_()
    page = bundle["text/html"]
    assert page.startswith('<figure class="bert-repro-exhibit" id="fig-one">') and page.count("Plotly.newPlot") == 1
    assert "What is seen. <small>" in page and "CSV, 3 rows" in page
    assert "similarity-base-nli-1\n" in page and "nli-2" not in page and "commit 0123456" in page
    assert "make report STUDY=build/minilm/study.yaml" in page and "rerun similarity-base-nli-1 -p layers" in page
    (folder / "studies").mkdir()
    (folder / "studies" / "minilm.yaml").touch()
    for path in folder.glob("*.manifest.json"):  # of a notebook that has no layers to choose
        path.write_text(path.read_text().replace('"layers": []', '"seed": 1'))
    page = shown(folder)._repr_mimebundle_()["text/html"]
    assert "make report STUDY=studies/minilm.yaml" in page and "rerun similarity-base-nli-1 -p seed 2" in page
    data = pd.read_csv(io.StringIO(bundle["text/csv"]))
    assert data["value"].tolist() == [1.0, 0.9, 0.8] and "replicates" not in data and "corpus" not in data
    assert bundle["application/vnd.plotly.v1+json"]["data"]


def test_rows_come_from_the_runs_of_their_notebook_model_and_reference(folder):
    made = exhibits.provenance.manifests(folder)
    assert exhibits.behind(rows(), made) == ["similarity-base-nli-1"]
    assert exhibits.behind(rows("nli-2", "nli-1"), made) == ["similarity-nli-1-nli-2"]
    assert exhibits.behind(rows("nli-2", pd.NA), made) == ["similarity-base-nli-2", "similarity-nli-1-nli-2"]
    assert exhibits.behind(pd.DataFrame({"model": ["base"], "kind": ["tree"]}), made) == ["states-base"]
    assert exhibits.behind(pd.DataFrame({"word": ["a"]}), made) == []


def test_many_runs_are_counted_not_listed(folder):
    for seed in range(9):
        made = {
            "notebook": "similarity",
            "commit": "0123456789",
            "parameters": {"name": "x", "reference_name": f"r{seed}", "study": "minilm"},
        }
        (folder / f"similarity-r{seed}-x.manifest.json").write_text(json.dumps(made))
    exhibit = shown(folder, rows("x", pd.NA))
    page, _ = exhibits.drawn(exhibit.figure.to_dict(), exhibit.facts(), exhibits.Links(run="runs.html#{}"))
    assert "9 runs" in page and page.count('<a href="runs.html#similarity-') == 6 and "and 3 more" in page


def test_markup_in_a_caption_is_text(folder):
    page = shown(folder, caption="<script>window.ran = true</script> & more")._repr_mimebundle_()["text/html"]
    assert "&lt;script&gt;window.ran = true&lt;/script&gt; &amp; more" in page


def test_a_figure_without_a_caption_is_refused(folder):
    with pytest.raises(ValueError, match="the figure 'one' has no caption: say what is seen"):
        shown(folder, caption=" ")


def test_a_figure_is_told_in_words():
    told = exhibits.described(figures.layer_curves(rows(), title="A title"))
    assert told == "A title. NLI fine-tuned, seed 1: 1 at 0, 0.8 at 2"
    many = pd.concat([rows(f"nli-{seed}").assign(seed=seed) for seed in range(1, 12)])
    assert exhibits.described(figures.layer_curves(many)).endswith("; and 3 more")
    cells = rows().assign(reference_layer=0)
    assert exhibits.described(figures.layer_grid(cells)) == "a figure of heatmap"


@pytest.mark.parametrize("path", sorted((ROOT / "notebooks" / "chapters").glob("*.ipynb")), ids=lambda path: path.stem)
def test_every_figure_of_a_chapter_is_drawn_by_its_gallery(path):
    """So it has a caption and its data, and where nothing was measured the page says so."""
    code = "\n".join(
        "".join(cell["source"])
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]
        if cell["cell_type"] == "code"
    )
    called = {ast.unparse(node.func) for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Call)}
    assert not called & {f"figures.{name}" for name in ("exhibit", *DRAWN)}


def test_a_caption_says_how_much_is_behind_it():
    rows = pd.DataFrame(
        {
            "n": [4996, 5021, 5000, None],
            "units": [203, 350, None, None],
            "task": ["nli", "nli", "squad", None],
            "seed": [1, 2, 1, None],
        }
    )
    assert exhibits.counted(rows) == "n 4,996 to 5,021; 203 to 350 units resampled; trainings: 2 of NLI, 1 of SQuAD."
    assert exhibits.counted(rows[["n"]][:1]) == "n 4,996." and exhibits.counted(rows[["task"]]) == ""
