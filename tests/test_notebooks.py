"""What papermill lets pass, execute refuses; what it leaves behind is whole, stamped and free of this machine's paths."""

import json
import os
import re
import subprocess
import sys
import tempfile
from html.parser import HTMLParser
from pathlib import Path

import nbformat
import pytest

from bert_repro.results import parameters
from bert_repro.workflow import notebooks

PARAMETERS = """\
layers: list[int] = [0, 6]  # which layers, 0 = embeddings
words: int = 5
rate: float = 1e-4  # learning rate
name: str = "base"  # a label
fast: bool = False
corpora: list[str] = []
weights: dict[str, float] = {}"""


def write(folder: Path, *code: str, parameters: str = PARAMETERS, heading: str = "# Similarity") -> Path:
    """Write a notebook of a heading, a parameters cell and code cells."""
    v4 = nbformat.v4
    cells = [v4.new_markdown_cell(heading), v4.new_code_cell(parameters, metadata={"tags": ["parameters"]})]
    path = folder / "small.ipynb"
    nbformat.write(v4.new_notebook(cells=[*cells, *map(v4.new_code_cell, code)]), path)
    return path


def printed(path: Path) -> str:
    """Give what an executed notebook's cells printed."""
    outputs = [o for cell in nbformat.read(path, 4).cells for o in cell.get("outputs", [])]
    return "".join(o["text"] for o in outputs if o["output_type"] == "stream")


def test_import_is_light():
    heavy = "{'papermill', 'tensorflow', 'nbconvert', 'plotly', 'pandas'}"
    code = f"import sys, bert_repro.workflow.notebooks; print(sorted({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_parameters_are_read_with_type_default_and_help(tmp_path):
    read = parameters.read(write(tmp_path))
    assert read[0] == ("layers", "list[int]", [0, 6], "which layers, 0 = embeddings")
    assert [p.name for p in read] == ["layers", "words", "rate", "name", "fast", "corpora", "weights"]
    assert read[1].help == ""
    assert read[2].default == 1e-4


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ("words = 5", r"small.ipynb: the parameters cell holds 'words = 5': expected one `name: type = value"),
        ("words: int", r"holds 'words: int'"),
        ("import os", r"holds 'import os'"),
        ("words: int = (", r"small.ipynb: the parameters cell is not Python: line 1"),
        ("words: int = 2 * other", r"small.ipynb: parameter words: the default '2 \* other' must be a plain value"),
        ("size: tuple[int, int] = (1, 2)", r"parameter size: the type tuple\[int, int\] is not str, int, float"),
        ("x: __import__('os').remove('y') = 1", r"parameter x: the type __import__"),
    ],
)
def test_parameters_refuses_another_form(tmp_path, cell, message):
    with pytest.raises(ValueError, match=message):
        parameters.read(write(tmp_path, parameters=cell))


def test_parameters_refuses_none_two_and_what_is_no_notebook(tmp_path):
    path = write(tmp_path)
    notebook = nbformat.read(path, 4)
    notebook.cells.append(notebook.cells[1])
    for cells, found in ((notebook.cells[:1], 0), (notebook.cells, 2)):
        path.write_text(json.dumps({"nbformat": 4, "cells": cells}))
        with pytest.raises(
            ValueError, match=rf"small.ipynb: expected one code cell tagged `parameters`, found {found}"
        ):
            parameters.read(path)
    for content in ("not json", "[]", '{"nbformat": 3}'):
        path.write_text(content)
        with pytest.raises(ValueError, match=r"small.ipynb is not a Jupyter notebook of format 4"):
            parameters.read(path)


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"rate": 1, "words": 2},
        {"layers": [0], "fast": True, "name": "12", "corpora": ["a"], "weights": {"a": 1, "b": 0.5}},
    ],
)
def test_check_accepts(tmp_path, given):
    parameters.check(write(tmp_path), given)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"words": True}, "parameter words must be int, got True of type bool: Input should be a valid integer"),
        ({"rate": True}, "parameter rate (learning rate) must be float, got True of type bool"),
        ({"words": 1.0}, "parameter words must be int, got 1.0 of type float"),
        ({"words": "5"}, "got '5' of type str"),
        ({"name": 12}, "parameter name (a label) must be str, got 12 of type int"),
        ({"fast": 1}, "parameter fast must be bool, got 1"),
        ({"layers": (0, 1)}, "(which layers, 0 = embeddings) must be list[int], got (0, 1) of type tuple"),
        ({"layers": [True]}, "must be list[int], got [True]"),
        ({"layers": "0-12"}, "got '0-12' of type str: Input should be a valid list"),
        ({"rate": float("nan")}, "got nan of type float: Out of range float values are not JSON compliant"),
        ({"weights": {1: 0.5}}, "must be dict[str, float], got {1: 0.5}"),
        ({"words": None}, "got None of type NoneType"),
    ],
)
def test_check_refuses_other_types(tmp_path, given, expected):
    with pytest.raises(ValueError, match=re.escape(expected)) as error:
        parameters.check(write(tmp_path), given)
    assert "small.ipynb" in str(error.value)


def test_check_refuses_a_tuple_inside_a_free_value(tmp_path):
    path = write(tmp_path, parameters="extra: dict[str, object] = {}")
    parameters.check(path, {"extra": {"a": [1, None, "b"]}})
    with pytest.raises(ValueError, match="JSON has no such value"):
        parameters.check(path, {"extra": {"a": (1, 2)}})
    with pytest.raises(ValueError, match="not JSON serializable"):
        parameters.check(path, {"extra": {"a": {1, 2}}})


def test_unknown_parameter_names_the_nearest(tmp_path):
    path = write(tmp_path)
    expected = r"small.ipynb has no parameter 'layer': did you mean 'layers'\? It has layers: list\[int\], words: int"
    for refuse in (lambda: parameters.check(path, {"layer": [0]}), lambda: parameters.parse([("layer", "[0]")], path)):
        with pytest.raises(ValueError, match=expected):
            refuse()


def test_parse_goes_by_the_annotation(tmp_path):
    texts = [("layers", "[0, 12]"), ("rate", "1"), ("name", "12"), ("fast", "true"), ("weights", '{"a": 1}')]
    parsed = parameters.parse(texts, write(tmp_path))
    assert parsed == {"layers": [0, 12], "rate": 1, "name": "12", "fast": True, "weights": {"a": 1}}
    assert parameters.parse([("name", "true")], write(tmp_path)) == {"name": "true"}


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ([("layers", "0,6")], "cannot read '0,6' as list[int]: write it as in `-p layers '[0, 6]'`"),
        ([("fast", "True")], "cannot read 'True' as bool: write it as in `-p fast false`"),
        ([("corpora", "ewt")], "cannot read 'ewt' as list[str]"),
        ([("words", "true")], "parameter words must be int, got True"),
        ([("words", "1"), ("words", "2")], "parameter words is given twice: 1 and '2'"),
        ([("rate", "NaN")], "must be float, got nan"),
    ],
)
def test_parse_refuses(tmp_path, texts, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        parameters.parse(texts, write(tmp_path))


def test_find_by_name(tmp_path, monkeypatch):
    (tmp_path / "notebooks/chapters").mkdir(parents=True)
    monkeypatch.setattr(notebooks, "ROOT", tmp_path)
    first = write(tmp_path / "notebooks")
    second = write(tmp_path / "notebooks/chapters").rename(tmp_path / "notebooks/chapters/story.ipynb")
    assert notebooks.find("small") == notebooks.find(str(first)) == first
    assert notebooks.find("story") == second
    for name in ("smal", "other.ipynb"):
        with pytest.raises(
            ValueError, match=rf"no notebook '{name}': give a path to an .ipynb, or one of small, story"
        ):
            notebooks.run(name, tmp_path / "out.ipynb", {})


def test_run_refuses_before_it_runs(tmp_path):
    path = write(tmp_path, heading="no heading")
    for output in (path, tmp_path / "out.html"):
        with pytest.raises(ValueError, match=r"give another path that ends in .ipynb"):
            notebooks.run(path, output, {})
    with pytest.raises(ValueError, match=r"no heading to put the title 'seed 1' behind"):
        notebooks.run(path, tmp_path / "out.ipynb", {}, title="seed 1")
    with pytest.raises(ValueError, match="no parameter 'word'"):
        notebooks.run(path, tmp_path / "out.ipynb", {"word": 1})
    assert list(tmp_path.iterdir()) == [path]


class Outside(HTMLParser):
    """Collects what a page loads from elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.scripts = 0

    def handle_starttag(self, tag, attrs):
        self.scripts += tag == "script"
        if tag != "a":
            self.addresses += [
                v for k, v in attrs if k in ("src", "href", "srcset") and v and not v.startswith("data:")
            ]


@pytest.mark.slow
def test_run_leaves_a_whole_stamped_notebook_and_page(tmp_path, monkeypatch, capsys):
    # A `python3` kernel of the user's that leads elsewhere, and a folder whose name papermill would fill in.
    kernel = tmp_path / "jupyter/kernels/python3/kernel.json"
    kernel.parent.mkdir(parents=True)
    kernel.write_text(json.dumps({"argv": ["/bin/false"], "display_name": "other", "language": "python"}))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    folder = tmp_path / "{words}"
    folder.mkdir()
    nasty = 'quote " and \' and \\ and\nimport os; os._exit(3) {words} $(exit) """ ü'
    path = write(
        folder,
        "import os, sys\nprint(os.getcwd() == given, sys.executable == name)" + " or (os.getcwd(), sys.executable)",
        f"print('same' if corpora == [{nasty!r}] else corpora)\nprint('<b>bold</b>', type(rate).__name__)\n"
        "print('noise of', sys.prefix, file=sys.stderr)",
        "import json\nimport plotly.graph_objects as go\nfrom IPython.display import display\n"
        "figure = go.Figure(go.Scatter(y=[1, 2]))\n"
        "display({'application/vnd.plotly.v1+json': json.loads(figure.to_json()),"
        " 'text/html': figure.to_html(full_html=False, include_plotlyjs=False)}, raw=True)",
        parameters=PARAMETERS + f"\ngiven: str = {str(notebooks.ROOT)!r}",
        heading="# Similarity\n\nWith $x^2$, {term}`vectors <vector>`, and [a paper](https://example.org).\n\n## Later",
    )
    output = folder / "new/out.ipynb"
    notebooks.run(path, output, {"corpora": [nasty], "name": sys.executable, "rate": 2}, html=True, title="base\nand 1")

    assert [p.name for p in sorted(output.parent.iterdir())] == ["out.html", "out.ipynb"]
    assert "True True\n" in printed(output), "root as working folder, and a kernel of this Python"
    assert "same\n" in printed(output)
    assert "noise" not in printed(output)
    assert "noise of" in capsys.readouterr().err
    executed = nbformat.read(output, 4)
    assert executed.cells[0].source.startswith("# Similarity: base and 1\n\nWith")
    assert "## Later" in executed.cells[0].source and "{term}`vectors <vector>`" in executed.cells[0].source
    stamp = executed.metadata.bert_repro
    assert set(stamp) == {"notebook", "parameters", "version", "commit", "started", "seconds"}
    assert stamp.notebook == "small.ipynb"
    assert stamp.parameters.rate == 2
    assert 0 < stamp.seconds < 60
    assert str(tmp_path) not in output.read_text(encoding="utf-8")
    assert path.read_text().count("# Similarity\\n") == 1, "the source is left as it was"

    page = output.with_suffix(".html").read_text(encoding="utf-8")
    outside = Outside()
    outside.feed(page)
    assert outside.addresses == []
    assert "cdnjs" not in page
    assert "unpkg" not in page
    assert page.count("* plotly.js v") == 1
    assert page.index("* plotly.js v") < page.index("</head>") < page.index('class="plotly-graph-div"')
    assert "&lt;b&gt;bold&lt;/b&gt; int" in page
    assert "<title>Similarity: base and 1</title>" in page
    assert "https://example.org" in page
    assert "<em>vectors</em>" in page, "only the book can follow a term"
    assert "svg.contrasts .holds" in page, "verdicts look as in the book"


@pytest.mark.slow
def test_a_kernel_does_not_log_what_its_shutdown_cuts_off(tmp_path, capfd):
    path = write(
        tmp_path,
        "import logging\nprint(words)",
        "logging.getLogger('tornado.general').error('cut off')",
        "print(sorted(set(globals()) & {'quiet', 'exec_lines'}))",
    )
    notebooks.run(path, tmp_path / "out.ipynb", {"words": 1}, progress=False)
    assert printed(tmp_path / "out.ipynb") == "1\n[]\n" and capfd.readouterr().err == ""


@pytest.mark.slow
def test_a_failed_run_leaves_its_notebook_aside_until_one_succeeds(tmp_path, capfd):
    path = write(tmp_path, "print(words)", "if words == 0:\n    raise KeyError('no such\\nword')", "print('end')")
    output, failed = tmp_path / "out.ipynb", tmp_path / "out.failed.ipynb"
    with pytest.raises(notebooks.NotebookError) as error:
        notebooks.run(path, output, {"words": 0}, progress=False)
    assert str(error.value) == rf"small.ipynb, cell 4 of 5: KeyError: 'no such\nword' (see {failed})"
    assert sorted(tmp_path.iterdir()) == [failed, path]
    assert "0\n" in printed(failed)

    notebooks.run(path, output, {"words": 1}, progress=False)
    assert sorted(tmp_path.iterdir()) == [output, path]
    assert printed(output) == "1\nend\n"
    assert capfd.readouterr().err == "", "no bar, no log lines"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("import os\nos._exit(1)", "cell 3 of 4: the kernel died: out of memory?"),
        ("import sys\nsys.exit()", "cell 3 of 4: SystemExit: the cell ended the notebook early"),
    ],
)
def test_a_run_that_ends_early_is_a_failure(tmp_path, code, message):
    path = write(tmp_path, code, "print('end')")
    with pytest.raises(notebooks.NotebookError, match=re.escape(message)):
        notebooks.run(path, tmp_path / "out.ipynb", {}, progress=False)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out.failed.ipynb", "small.ipynb"]


@pytest.mark.slow
def test_a_kernel_takes_no_network_port_and_leaves_no_socket(tmp_path, monkeypatch):
    """Of two runs that start at once, one could take the port that was found free for the other."""
    with tempfile.TemporaryDirectory() as sockets:  # short: a socket's path may have 107 characters
        monkeypatch.setattr(tempfile, "tempdir", sockets)
        monkeypatch.setenv("SOCKETS", sockets)
        code = "import os\nprint(sorted(name[-6:] for name in os.listdir(os.environ['SOCKETS'])))"
        notebooks.run(write(tmp_path, code), tmp_path / "out.ipynb", {}, progress=False)
        assert "-ipc-1" in printed(tmp_path / "out.ipynb")
        assert os.listdir(sockets) == []


def test_a_kernel_that_does_not_start_is_a_failure(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(notebooks.NotebookError, match="before its first cell: the kernel does not answer: Kernel died"):
        notebooks.run(write(tmp_path, "1"), tmp_path / "out.ipynb", {}, progress=False)


def test_an_interrupted_run_leaves_nothing(tmp_path, monkeypatch):
    import papermill

    def interrupt(source, partial, *_, **__):
        Path(partial).write_text("{")
        raise KeyboardInterrupt

    monkeypatch.setattr(papermill, "execute_notebook", interrupt)
    path = write(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        notebooks.run(path, tmp_path / "out.ipynb", {})
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.slow
def test_sockets_of_a_kernel_lie_where_their_paths_are_short(tmp_path, monkeypatch):
    deep = tmp_path / ("x" * 100)
    deep.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(deep))
    output = tmp_path / "o.ipynb"
    notebooks.run(write(tmp_path, "print(words)"), output, {"words": 6}, progress=False)
    assert printed(output) == "6\n"
