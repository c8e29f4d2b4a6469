"""A book of made-up executed notebooks: complete, free of warnings, whole in a browser without a network.

It shows two studies: a published one, `minilm`, and the reader's own.
"""

import html
import importlib
import importlib.util
import inspect
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote

import nbformat
import pandas as pd
import plotly.io as pio
import pytest
import yaml
from IPython.core.displayhook import DisplayHook
from IPython.core.interactiveshell import InteractiveShell
from IPython.display import display
from IPython.utils.capture import capture_output
from nbformat import v4

from bert_repro import figures
from bert_repro.figures import exhibits
from bert_repro.results import claims, tables
from bert_repro.workflow import names, study

ROOT = Path(__file__).resolve().parent.parent
FIRST = next(iter(names.chapters()))
BANNER = "Not the paper's setting: generated sentences and a small encoder."
STUDY = f"""
name: demo
title: a laptop
banner: "{BANNER}"
base: somewhere
tasks: [{{task: nli, train: a, dev: b, updates: 10}}]
similarity: {{corpora: [c]}}
structural_probe: {{train: a, dev: b, test: c}}
chapters: {list(names.chapters())}
"""
EVIL = "<script>window.ran = true</script> costs $5 and $6 <img src=x onerror='window.ran = true'>"

_spec = importlib.util.spec_from_file_location("assemble", ROOT / "book" / "assemble.py")
book = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(book)


def curves():
    return tables.tidy(
        {"notebook": "similarity", "role": "score", "model": f"nli-{seed}", "task": "nli", "seed": seed, "reference_model": "base",
         "layer": layer, "metric": "rsa", "value": 1 - layer / 20, "ci_low": 0.95 - layer / 20, "ci_high": 1, "n": 100}
        for seed in (1, 2) for layer in range(13)
    )  # fmt: skip


def shown(folder):
    """The outputs of a figure with its caption."""
    figure = figures.layer_curves(curves(), title="How far fine-tuning moves each layer of the encoder")
    caption = "Similarity by layer. A <b>sentence</b> & a second one."
    return exhibits.Exhibit(figure, curves(), "rsa", caption, folder)._repr_mimebundle_()


def dots():
    metrics = ("las", "uas", "las_without_punctuation", "uas_without_punctuation")
    rows = (
        {"role": "score", "model": f"parsing-{seed}", "task": "parsing", "seed": seed, "metric": metric,
         "value": 0.8 + seed / 50, "ci_low": 0.78, "ci_high": 0.9, "n": 100} for seed in (1, 2, 3) for metric in metrics
    )  # fmt: skip
    return figures.dots(
        tables.tidy(rows), "metric", xlabel="score", title="Scores of the tuned models on held-out text"
    )


def ran(heading, *outputs, text="", notebook=""):
    """Make an executed notebook with one cell for each output."""
    cells = [v4.new_markdown_cell(f"# {heading}\n\n{text}")]
    for count, data in enumerate(outputs, start=1):
        output = v4.new_output("execute_result", data=data, execution_count=count)
        cells.append(v4.new_code_cell("show()", execution_count=count, outputs=[output]))
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return v4.new_notebook(cells=cells, metadata={"kernelspec": kernel, "bert_repro": {"notebook": notebook}})


MANIFEST = {
    "notebook": "similarity", "commit": "0123456789", "seconds": 60, "packages": {}, "inputs": {},
    "parameters": {"name": "nli-1", "reference_name": "base", "study": "nowhere"},
}  # fmt: skip


@pytest.fixture(scope="module")
def executed(tmp_path_factory):
    """Folders of executed chapters and runs, a study and its tables' manifests."""
    folder = tmp_path_factory.mktemp("executed")
    (folder / "demo.yaml").write_text(STUDY)
    (folder / "tables").mkdir()
    (folder / "tables" / "similarity-base-nli-1.manifest.json").write_text(json.dumps(MANIFEST))
    figure = pio.renderers["bert_repro"].to_mimebundle(dots().to_dict())
    (folder / "staleness.json").write_text('{"similarity": {"today": "rows gone: 3"}}')
    with_caption = shown(ROOT / "results" / "minilm" / "tables")
    wide = pd.DataFrame({f"a wide column {k}": [EVIL] for k in range(8)})
    sentence = {"text/html": figures.Gallery(folder).table(wide, EVIL).data, "text/plain": "a table"}
    formula = "As {cite:t}`merchant2020` asked, see {doc}`similarity`, $d = \\lVert B h \\rVert^2$:\n\n$$\\min_B \\sum_l \\frac{1}{|s_l|^2}$$"
    chapters = {
        name: ran(heading, *outputs, notebook=f"notebooks/chapters/{name}.ipynb")
        for name, heading, *outputs in (
            *((chapter, f"A chapter: {chapter}") for chapter in names.chapters()),
            ("models", "The models", figure),
            (
                "similarity",
                "Similarity",
                with_caption,
                {"text/markdown": f"**so** {EVIL}", "text/plain": "x"},
                with_caption,
            ),
            ("structural_probe", "Structural probe", sentence, sentence),
            ("extra", "One more chapter", {"text/plain": EVIL}),
            ("claims", "Claims"),
            ("runs", "Runs"),
        )
    }
    pages = {f"chapters/{part}/{name}": page for part in ("minilm", "yours") for name, page in chapters.items()}
    pages |= {f"chapters/{name}": ran(name.title()) for name in ("life", "compare", "reproduce", "parity")}
    pages["chapters/index"] = ran("The question", with_caption, text=formula)
    pages["runs/structural_probe-base"] = ran(
        "Structural probe: base", figure, notebook="notebooks/structural_probe.ipynb"
    )
    for seed in (1, 2):
        pages[f"runs/similarity-base-nli-{seed}"] = ran(
            f"Similarity: base and nli-{seed}", notebook="notebooks/similarity.ipynb"
        )
    for name, notebook in pages.items():
        (folder / name).parent.mkdir(exist_ok=True, parents=True)
        nbformat.write(notebook, folder / f"{name}.ipynb")
    return folder


def assembled(executed, out, repository="", banner=True):
    mine, minilm = study.load(executed / "demo.yaml"), study.load(ROOT / "studies" / "minilm.yaml")
    parts = [
        book.Part("minilm", minilm, ROOT / "results" / "minilm" / "tables"),
        book.Part("yours", mine if banner else mine.model_copy(update={"banner": ""}), executed / "tables"),
    ]
    book.assemble(parts, executed / "chapters", executed / "runs", out, repository)
    return out


def heading(path):
    return nbformat.read(path, as_version=4).cells[0].source


def test_contents_follow_the_studies_the_published_one_first(executed, tmp_path):
    out = assembled(executed, tmp_path / "book")
    contents = (out / "_toc.yml").read_text()
    listed = re.findall(r"file: (\S+)", contents)
    chapters = [*names.chapters(), *names.END, "extra"]
    single = [
        f"yours/runs/{run}" for run in ("similarity-base-nli-1", "similarity-base-nli-2", "structural_probe-base")
    ]
    pages = [f"{part}/{chapter}" for part in ("minilm", "yours") for chapter in chapters]
    pages[pages.index("yours/runs") + 1 : pages.index("yours/runs") + 1] = single
    assert listed == [*pages, *book.METHOD]
    (mine,) = [part for part in yaml.safe_load(contents)["parts"] if part["caption"].startswith("Your run")]
    (runs,) = [page for page in mine["chapters"] if "sections" in page]
    assert runs["file"] == "yours/runs" and [page["file"] for page in runs["sections"]] == single
    assert "title: 'Similarity: base and NLI, seed 1'" in contents
    assert (
        "title: 'Structural probe: base'" in contents
        and "Published study minilm, an encoder that had been tuned before" in contents
    )
    assert not list(out.rglob("*.py")) and list(out.rglob("plotly*.*js")) == [out / "_static" / "plotly.min.mjs"]


def test_every_page_of_a_study_says_whose_it_is(executed, tmp_path):
    out = assembled(executed, tmp_path / "book")
    for path in [
        *out.glob("minilm/*.ipynb"),
        *out.glob("yours/*.ipynb"),
        *out.glob("yours/runs/*.ipynb"),
        out / "index.ipynb",
    ]:
        text = heading(path)
        mine, published = "Your run: study demo" in text, "Published study minilm" in text
        assert (mine, published) == (
            path.parent.name in ("yours", "runs", "book"),
            path.parent.name in ("minilm", "book"),
        ), path
        assert (BANNER in text) == (mine and path.stem == FIRST) and text.startswith("# ")
    assert "banner" not in heading(out / "reproduce.ipynb")


def test_a_chapter_begins_with_the_claims_that_it_argues_about_and_their_verdicts(executed, tmp_path):
    out = assembled(executed, tmp_path / "book")
    text = heading(out / "minilm" / "similarity.ipynb")
    argued = [claim.id for claim in claims.load().claims if claim.chapter == "similarity"]
    assert re.findall(r'href="claims\.html#([\w-]+)"><span class="verdict', text) == argued and len(argued) > 2
    assert "scorecard" not in heading(out / "minilm" / "models.ipynb")  # where no claim is argued about
    assert "scorecard" not in heading(out / "yours" / "similarity.ipynb")  # a study without tables


def test_a_study_without_a_banner_is_still_told_apart(executed, tmp_path):
    text = heading(assembled(executed, tmp_path / "book", banner=False) / "yours" / "models.ipynb")
    assert "Your run: study demo, a laptop" in text and BANNER not in text


def test_stale_tables_are_told_on_every_page_of_their_study(executed, tmp_path):
    assert "1 of 1 tables are **stale**" in heading(assembled(executed, tmp_path / "book") / "yours" / "models.ipynb")


def test_a_figure_has_its_number_data_notebook_and_runs(executed, tmp_path):
    out = assembled(executed, tmp_path / "book")
    for part, run in (("minilm", "runs.html#similarity-base-nli-1"), ("yours", "runs/similarity-base-nli-1.html")):
        cells = nbformat.read(out / part / "similarity.ipynb", as_version=4).cells
        pages = [cell.outputs[0].data for cell in cells if cell.cell_type == "code"]
        assert list(pages[0]) == ["text/html"]  # the rest would double every figure
        number = list(names.chapters()).index("similarity") + 1
        assert f"Figure {number}.1.</span> Similarity by layer." in pages[0]["text/html"]
        assert f"Figure {number}.2.</span>" in pages[2]["text/html"]
        assert f'<a href="../data/{part}/similarity-rsa.csv" download>CSV, 26 rows</a>' in pages[0]["text/html"]
        assert f'<a href="{run}">similarity-base-nli-1</a>' in pages[0]["text/html"]
        assert '<a href="../notebooks/similarity.ipynb" download>similarity</a>' in pages[0]["text/html"]
        assert len(pd.read_csv(out / "files" / "data" / part / "similarity-rsa.csv")) == 26
    assert (out / "files" / "notebooks" / "similarity.ipynb").read_bytes() == (
        ROOT / "notebooks" / "similarity.ipynb"
    ).read_bytes()
    front = nbformat.read(out / "index.ipynb", as_version=4)
    assert 'href="data/index-rsa.csv"' in front.cells[1].outputs[0].data["text/html"]
    assert 'href="minilm/runs.html#similarity-base-nli-1"' in front.cells[1].outputs[0].data["text/html"]
    assert "{doc}`/minilm/similarity`" in front.cells[0].source  # a page of no study leads to the first


def test_tables_are_numbered_within_their_chapter(executed, tmp_path):
    cells = nbformat.read(
        assembled(executed, tmp_path / "book") / "minilm" / "structural_probe.ipynb", as_version=4
    ).cells
    number = list(names.chapters()).index("structural_probe") + 1
    for count, cell in enumerate(cells[1:], start=1):
        page = cell.outputs[0].data["text/html"]
        assert f'<span class="table-number">Table {number}.{count}.</span> &lt;script&gt;' in page


@pytest.mark.parametrize(
    "repository", ["", "https://github.com/you/bert_repro", "https://github.com/you/bert_repro.git"]
)
def test_pages_offer_their_notebook_and_where_to_run_it(executed, tmp_path, repository):
    out = assembled(executed, tmp_path / "book", repository)
    text, run = (
        heading(out / "minilm" / "similarity.ipynb"),
        heading(out / "yours" / "runs" / "structural_probe-base.ipynb"),
    )
    assert '<a href="../notebooks/chapters/similarity.ipynb" download>' in text
    assert '<a href="../../notebooks/structural_probe.ipynb" download>' in run
    for link in (
        "https://mybinder.org/v2/gh/you/bert_repro/HEAD?labpath=notebooks/structural_probe.ipynb",
        "https://colab.research.google.com/github/you/bert_repro/blob/HEAD/notebooks/structural_probe.ipynb",
    ):
        assert (link in run) == bool(repository)


def test_what_a_study_does_not_have_is_named_and_not_linked(executed, tmp_path):
    copy = shutil.copytree(executed, tmp_path / "executed")
    (copy / "chapters" / "yours" / "similarity.ipynb").unlink()
    page = ran("Trees", text="See {doc}`similarity`, {doc}`models` and {doc}`reproduce`.")
    for part in ("minilm", "yours"):
        nbformat.write(page, copy / "chapters" / part / "structural_probe.ipynb")
    out = assembled(copy, tmp_path / "book")
    assert "See {doc}`/minilm/similarity`, {doc}`/minilm/models` and {doc}`/reproduce`." in heading(
        out / "minilm" / "structural_probe.ipynb"
    )
    assert "See *similarity*, {doc}`/yours/models` and" in heading(out / "yours" / "structural_probe.ipynb")


def test_a_page_that_is_gone_leaves_the_book(executed, tmp_path):
    copy = shutil.copytree(executed, tmp_path / "executed")
    assembled(copy, tmp_path / "book")
    for seed in (1, 2):
        (copy / "runs" / f"similarity-base-nli-{seed}.ipynb").unlink()
    out = assembled(copy, tmp_path / "book")
    assert [page.stem for page in out.glob("yours/runs/*")] == ["structural_probe-base"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["book", "executed"]


def test_a_book_of_the_readers_study_alone(executed, tmp_path):
    part = book.Part("yours", study.load(executed / "demo.yaml"), executed / "tables")
    book.assemble([part], executed / "chapters", tmp_path / "no runs", tmp_path / "book")
    assert "minilm/" not in (tmp_path / "book" / "_toc.yml").read_text()
    assert "{doc}`/yours/similarity`" in heading(tmp_path / "book" / "index.ipynb")


def broken(kind):
    notebook = ran("A heading", {"text/plain": "x"})
    if kind == "failed":
        notebook.cells[1].outputs = [v4.new_output("error", ename="ValueError", evalue="no", traceback=[])]
    elif kind == "not executed":
        notebook.cells[1].execution_count = None
    else:
        notebook.cells[0].source = "no title"
    return notebook


@pytest.mark.parametrize("kind", ["failed", "not executed", "no heading"])
def test_a_notebook_that_did_not_run_through_is_refused(executed, tmp_path, kind):
    copy = shutil.copytree(executed, tmp_path / "executed")
    nbformat.write(broken(kind), copy / "runs" / "new.ipynb")
    with pytest.raises(ValueError, match=kind):
        assembled(copy, tmp_path / "book")
    assert not (tmp_path / "book").exists()
    (copy / "chapters" / "index.ipynb").unlink()
    with pytest.raises(FileNotFoundError, match=r"index\.ipynb"):
        assembled(copy, tmp_path / "book")


API = (ROOT / "book" / "api.md").read_text(encoding="utf-8")


def test_the_page_of_the_package_names_what_there_is_and_each_has_a_docstring():
    room, named = "", []
    for directive, name in re.findall(r"^\.\. (\w+):: (\S+)$", API, re.MULTILINE):
        if directive == "currentmodule":
            room = name
        else:
            named.append(name if name.startswith("bert_repro.") else f"{room}.{name}")
    assert len(named) == len(set(named)) > 40
    for name in named:
        home, _, item = name.rpartition(".")
        assert inspect.getdoc(getattr(importlib.import_module(home), item)), name


@pytest.mark.slow
def test_the_example_of_the_page_runs(tmp_path, monkeypatch, in_this_process):
    monkeypatch.setenv("BERT_REPRO_CACHE", str(tmp_path))
    code = re.search(r"```python\n(.*?)```", API, re.DOTALL)[1]
    for of_page, here in {
        '"small", "small-nli"': '"tiny", "untrained:tiny"',
        "words=2000": "words=300",
        "range(7)": "range(3)",
    }.items():
        assert of_page in code
        code = code.replace(of_page, here)
    exec(code, space := {})
    table = space["table"]
    assert set(table["layer"].dropna()) == {0, 1, 2} and set(table["method"]) == {"rsa", "cka_debiased"}


class Displayed(DisplayHook):
    """Displays the last value of a cell, as `display` does, which can be caught."""

    def write_output_prompt(self):
        pass

    def write_format_data(self, format_dict, md_dict=None):
        display(format_dict, raw=True)

    def finish_displayhook(self):
        pass


def with_outputs(path):
    """Execute a chapter in this process; in reports each has a kernel of its own, which takes as long as what it shows."""
    notebook, shell = nbformat.read(path, as_version=4), InteractiveShell.instance(displayhook_class=Displayed)
    shell.reset()
    notebook.metadata["bert_repro"] = {"notebook": str(path.relative_to(ROOT))}
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    for count, cell in enumerate(code, start=1):
        cell.execution_count = count
        with capture_output() as said:
            shell.run_cell(cell.source).raise_error()
        shown = [v4.new_output("display_data", data=one.data) for one in said.outputs]
        cell.outputs = [*([v4.new_output("stream", text=said.stdout)] if said.stdout else []), *shown]
    return notebook


@pytest.fixture(scope="module")
def site(executed, tmp_path_factory):
    """The built book, its published chapters really executed; a warning of the builder is an error."""
    folder = tmp_path_factory.mktemp("site")
    shutil.copytree(executed, folder / "executed")
    for path in sorted((ROOT / "notebooks" / "chapters").glob("*.ipynb")):
        alone = path.stem in names.PAGES
        nbformat.write(with_outputs(path), folder / "executed" / "chapters" / ("" if alone else "minilm") / path.name)
    InteractiveShell.clear_instance()  # other tests are in no notebook
    source = assembled(folder / "executed", folder / "book")
    command = [Path(sys.executable).with_name("jupyter-book"), "build", source, "-n", "-W", "--keep-going"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return source / "_build" / "html"


def pages(site):
    return sorted(p for p in site.rglob("*.html") if p.stem not in ("genindex", "search") and "_static" not in p.parts)


@pytest.mark.parametrize("path", sorted((ROOT / "notebooks" / "chapters").glob("*.ipynb")), ids=lambda path: path.stem)
def test_chapters_keep_their_code_behind_a_toggle_and_leave_out_imports_and_parameters(path):
    code = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    tags = [cell.metadata["tags"] for cell in code]
    assert tags == [["parameters"], ["remove-input"], *[["hide-input"]] * (len(code) - 2)]
    assert "import " in code[1].source and not [cell for cell in code[2:] if "import " in cell.source]


@pytest.mark.slow
def test_no_page_loads_anything_from_outside_or_plotly_before_its_text(site):
    runs, front = 3, 1
    assert len(pages(site)) == 2 * (len(names.chapters()) + 3) + len(book.METHOD) + runs + front
    for page in pages(site):
        tags = re.findall(r"<(?:script|link|img|iframe|source)\b[^>]*>", page.read_text(encoding="utf-8"))
        assert not [tag for tag in tags if re.search(r"""(?:src|href)=["']?(?:https?:)?//""", tag)], page
        assert not any("plotly" in tag for tag in tags) and sum("figures.js" in tag for tag in tags) == 1, page
    assert len(list(site.rglob("plotly*.*js"))) == 1


@pytest.mark.slow
def test_every_link_inside_the_book_leads_somewhere(site):
    ids = {page: set(re.findall(r'\bid="([^"]+)"', page.read_text(encoding="utf-8"))) for page in pages(site)}
    broken = []
    for page in pages(site):
        for link in re.findall(r'<a\b[^>]*?href="([^"]*)"', page.read_text(encoding="utf-8")):
            address, _, anchor = html.unescape(link).partition("#")
            if re.match(r"\w+:", address):
                continue
            target = (page.parent / unquote(address)).resolve() if address else page
            if not target.exists() or (anchor and target in ids and anchor not in ids[target]):
                broken.append(f"{page.relative_to(site)}: {link}")
    assert not broken


@pytest.mark.slow
def test_the_book_is_small(site):
    assert sum(path.stat().st_size for path in site.rglob("*") if path.is_file()) < 25e6


@pytest.fixture
def visit(browser):
    """Open pages without a network, and end with no error, no failed request and none that left the disk."""
    seen, wrong, windows = [], [], {}

    def failed(request):
        # a download ends the request that it began with; a browser told to run no scripts does not fetch them
        if not request.url.endswith(".csv") and request.failure != "csp":
            wrong.append(f"{request.url}: {request.failure}")

    def visit(address, width=1400, **options):
        kind = (width, *options.items())
        if kind not in windows:  # in one window plotly.js is compiled once
            context = browser.new_context(offline=True, viewport={"width": width, "height": 1000}, **options)
            context.set_default_timeout(60_000)  # of a busy machine, too
            context.on("request", lambda request: seen.append(request.url))
            context.on("requestfailed", failed)
            context.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
            context.on("weberror", lambda error: wrong.append(str(error.error)))
            windows[kind] = context.new_page()
        windows[kind].goto(address.as_uri())
        return windows[kind]

    yield visit
    for page in windows.values():
        page.context.close()
    assert not wrong
    assert not [url for url in seen if not url.startswith(("file:", "data:", "blob:"))]


MARKS = ".main-svg :is(path.js-line, path.point, g.textpoint, .heatmaplayer image)"


@pytest.mark.slow
@pytest.mark.parametrize("width", [1400, 390])
def test_every_page_is_whole_in_a_browser_without_a_network(site, visit, width):
    drawn = 0
    # both studies are made of the same notebooks: one of them is enough on a phone
    for address in [page for page in pages(site) if width == 1400 or page.parent.name != "minilm"]:
        page = visit(address, width)
        for figure in page.locator(".bert-repro-figure").all():
            figure.scroll_into_view_if_needed()
            figure.locator(MARKS).first.wait_for(state="attached")
            box, plot = figure.bounding_box(), figure.locator(".main-svg").first.bounding_box()
            assert plot["width"] <= box["width"] + 1, address
            if figure.locator(".legend").count() and figure.locator(".xtitle").count():
                legend, axis = figure.locator(".legend").bounding_box(), figure.locator(".xtitle").last.bounding_box()
                panel = figure.locator(".nsewdrag").first.bounding_box()
                assert legend["x"] + legend["width"] <= box["x"] + box["width"] + 1, address
                assert legend["y"] >= axis["y"] + axis["height"] - 1, f"the legend covers the axis title: {address}"
                assert panel["height"] > 40, f"the legend leaves no room for the curves: {address}"
            drawn += 1
        for formula in page.locator(".math").all():
            formula.locator("mjx-container").first.wait_for(state="visible")
        wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert wide <= 0, f"{address.name} is {wide} pixels too wide"
        assert page.evaluate("window.ran") is None, f"text of a corpus ran as a script on {address.name}"
        if address.parent.name == "yours":
            if address.stem in ("similarity", "structural_probe", "extra"):
                assert "<script>window.ran = true</script> costs $5 and $6" in page.locator("article").inner_text()
            assert page.get_by_text("Your run: study demo, a laptop").last.is_visible()
            assert (page.get_by_text(BANNER.replace("'", "’")).count() > 0) == (address.stem == FIRST)
    assert drawn > (30 if width == 1400 else 10)


@pytest.mark.slow
def test_plotly_is_loaded_only_for_figures_and_each_is_drawn_when_it_is_near_or_printed(site, visit):
    assert visit(site / "glossary.html").evaluate("typeof Plotly") == "undefined"
    page = visit(site / "minilm" / "similarity.html")
    figures, drawn = page.locator(".bert-repro-figure"), page.locator(".bert-repro-figure:has(.main-svg)")
    drawn.first.wait_for(state="attached")
    assert 0 < drawn.count() < figures.count() and not figures.last.locator(".main-svg").count()
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert drawn.count() == figures.count() > 4


@pytest.mark.slow
def test_without_scripts_every_captioned_figure_is_told_in_words(site, visit):
    told = 0
    for address in [
        page for page in pages(site) if page.parent.name != "minilm" and "bert-repro-exhibit" in page.read_text()
    ]:
        page = visit(address, 390, java_script_enabled=False)
        for figure in page.locator("figure.bert-repro-exhibit").all():
            assert not figure.locator(".bert-repro-figure").is_visible(), address
            said = figure.locator("[role=img]").get_attribute("aria-label")
            assert said and said in figure.locator("noscript").inner_text(), address
            told += 1
    assert told > 8


@pytest.mark.slow
def test_a_figure_has_caption_alternative_text_data_and_a_legend_that_works(site, visit):
    page = visit(site / "yours" / "similarity.html")
    figure = page.locator("figure.bert-repro-exhibit").first
    assert "A <b>sentence</b> & a second one." in figure.locator("figcaption").inner_text()
    assert "NLI fine-tuned, seed 1: 1 at 0, 0.4 at 12" in figure.locator("[role=img]").get_attribute("aria-label")
    figure.locator("summary").focus()
    page.keyboard.press("Enter")  # all of it without a mouse
    assert figure.get_by_text("make report STUDY=").is_visible()
    with page.expect_download() as taken:
        figure.get_by_text("CSV, 26 rows").click()
    assert len(pd.read_csv(taken.value.path())) == 26
    line = figure.locator(".scatterlayer .trace:has(.js-line)")
    before = line.count()
    figure.locator(".legendtoggle").first.click()
    page.wait_for_function(
        "n => document.querySelector('figure').querySelectorAll('.scatterlayer .trace:has(.js-line)').length < n",
        arg=before,
    )


CONTRAST = """element => {
  const light = text => { const c = text.match(/[\\d.]+/g).map(Number);
    const f = v => (v /= 255) <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4;
    return .2126 * f(c[0]) + .7152 * f(c[1]) + .0722 * f(c[2]) };
  let under = element;
  while (under && /rgba\\(.*, 0\\)|transparent/.test(getComputedStyle(under).backgroundColor)) under = under.parentElement;
  const a = light(getComputedStyle(element).color), b = light(under ? getComputedStyle(under).backgroundColor : 'rgb(255,255,255)');
  return (Math.max(a, b) + .05) / (Math.min(a, b) + .05) }"""


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["light", "dark"])
def test_text_stands_out_by_day_and_by_night(site, visit, mode):
    for name in ("index", "minilm/claims", "minilm/similarity", "minilm/runs", "compare"):
        assert not poor_contrasts(visit(site / f"{name}.html", color_scheme=mode), mode), name


def poor_contrasts(page, mode):
    """List the texts of a page that stand out too little from what is under them."""
    assert page.locator("html").get_attribute("data-theme") == mode
    texts = page.locator("article :is(p, li, td, th, h1, h2, h3, figcaption, summary, small, .verdict, a, code)")
    return texts.evaluate_all(  # in one call: a page has hundreds, and each call takes its time
        f"""all => {{ const contrast = {CONTRAST}
          const seen = e => e.getClientRects().length && e.checkVisibility({{visibilityProperty: true}})
          return all.slice(0, 400).filter(seen).map(e => [e.innerText.slice(0, 40), contrast(e)]).filter(one => one[1] < 4.5) }}"""
    )  # WCAG AA


@pytest.mark.parametrize(
    ("title", "spelt"),
    [
        ("Fine-tuning: nli-frozen4-1", "Fine-tuning: NLI, lowest 4 blocks frozen, seed 1"),
        ("Fine-tuning: parsing-kept4-2", "Fine-tuning: parsing, cut to 4 blocks, seed 2"),
        ("Similarity: nli-1 and nli-2", "Similarity: NLI, seed 1 and NLI, seed 2"),
        ("Hidden states: mine-2 and ewt:dev[60]", "Hidden states: mine-2 and ewt:dev[60]"),
    ],
)
def test_titles_of_runs_name_models_in_words(title, spelt):
    assert book._spelt(title) == spelt


@pytest.mark.slow
def test_the_sidebar_fits_a_laptops_screen(site, visit):
    page = visit(site / "yours" / "similarity.html", 1440)
    page.set_viewport_size({"width": 1440, "height": 900})
    hidden = page.locator(".bd-sidebar-primary").evaluate("bar => bar.scrollHeight - bar.clientHeight")
    assert hidden <= 0, f"{hidden} pixels of the sidebar are below the screen"


@pytest.mark.slow
def test_the_search_finds_a_word_of_one_chapter(site, visit):
    page = visit(site / "index.html")
    page.keyboard.press("Control+k")
    page.keyboard.type("anisotropy")
    page.keyboard.press("Enter")
    page.get_by_role("link", name="What is compared: words, layers, vectors").first.wait_for()
    assert page.url.startswith("file:")


@pytest.mark.slow
def test_from_the_front_page_to_the_table_the_notebook_and_the_command(site, visit):
    page = visit(site / "index.html")
    figure = page.locator("#fig-rsa")
    figure.locator("summary").click()
    with page.expect_download() as table:
        figure.get_by_text(re.compile("CSV, ")).click()
    assert {"layer", "value", "ci_low"} <= set(pd.read_csv(table.value.path()).columns)
    link = figure.locator("a[href$='similarity.ipynb']").get_attribute("href")  # from disk a browser shows it as text
    assert (site / link).read_bytes() == (ROOT / "notebooks" / "similarity.ipynb").read_bytes()
    command = figure.locator("code").last.inner_text()
    assert re.fullmatch(
        r'python -m bert_repro rerun results/minilm/tables/similarity-base-\S+ -p layers "\[0, 3\]"', command
    )
