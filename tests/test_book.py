"""A book of made-up executed notebooks: complete, free of warnings, whole in a browser without a network."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pandas as pd
import plotly.io as pio
import pytest
from nbformat import v4

from bert_repro import figures, study, tables

ROOT = Path(__file__).resolve().parent.parent
BANNER = "Not the paper's setting: generated sentences and a small encoder."
STUDY = f"""
name: demo
title: a laptop
banner: "{BANNER}"
base: somewhere
tasks: [{{task: nli, train: a, dev: b, updates: 10}}]
similarity: {{corpora: [c]}}
structural_probe: {{train: a, dev: b, test: c}}
"""
EVIL = "<script>window.ran = true</script> costs $5 and $6 <img src=x onerror='window.ran = true'>"
QUIET = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip

_spec = importlib.util.spec_from_file_location("assemble", ROOT / "book" / "assemble.py")
book = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(book)


def curves():
    rows = (
        {"role": "score", "model": f"nli-{seed}", "task": "nli", "seed": seed, "reference_model": "base",
         "layer": layer, "metric": "rsa", "value": 1 - layer / 20, "ci_low": 0.95 - layer / 20, "ci_high": 1, "n": 100}
        for seed in (1, 2) for layer in range(13)
    )  # fmt: skip
    return figures.layer_curves(tables.tidy(rows), title="How far fine-tuning moves each layer of the encoder")


def dots():
    metrics = ("las", "uas", "las_without_punctuation", "uas_without_punctuation")
    rows = (
        {"role": "score", "model": f"parsing-{seed}", "task": "parsing", "seed": seed, "metric": metric,
         "value": 0.8 + seed / 50, "ci_low": 0.78, "ci_high": 0.9, "n": 100} for seed in (1, 2, 3) for metric in metrics
    )  # fmt: skip
    return figures.dots(
        tables.tidy(rows), "metric", xlabel="score", title="Scores of the tuned models on held-out text"
    )


def ran(heading, *outputs, text=""):
    """Make an executed notebook with one cell for each output."""
    cells = [v4.new_markdown_cell(f"# {heading}\n\n{text}")]
    for count, data in enumerate(outputs, start=1):
        output = v4.new_output("execute_result", data=data, execution_count=count)
        cells.append(v4.new_code_cell("show()", execution_count=count, outputs=[output]))
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return v4.new_notebook(cells=cells, metadata={"kernelspec": kernel})


@pytest.fixture(scope="module")
def executed(tmp_path_factory):
    """Folders of executed chapters and runs, and a study."""
    folder = tmp_path_factory.mktemp("executed")
    (folder / "demo.yaml").write_text(STUDY)
    figure = pio.renderers["bert_repro"].to_mimebundle(curves().to_dict())
    wide = pd.DataFrame({f"a wide column {k}": [EVIL] for k in range(8)})
    sentence = {"text/html": wide.to_html(), "text/plain": "a table"}
    formula = "As {cite:t}`merchant2020` asked, $d = \\lVert B h \\rVert^2$:\n\n$$\\min_B \\sum_l \\frac{1}{|s_l|^2}$$"
    pages = {
        "chapters/index": ran("The question", figure, text=formula),
        "chapters/models": ran("The models", pio.renderers["bert_repro"].to_mimebundle(dots().to_dict())),
        "chapters/similarity": ran("Similarity", figure, {"text/markdown": f"**so** {EVIL}", "text/plain": "x"}),
        "chapters/structural_probe": ran("Structural probe", sentence),
        "chapters/parity": ran("Parity", {"text/plain": "1e-6"}),
        "chapters/extra": ran("One more chapter", {"text/plain": EVIL}),
        "runs/structural_probe-base": ran("Structural probe: base", figure),
        "runs/finetune-nli-1": ran("Fine-tuning: nli, seed 1", figure),
    }
    for name, notebook in pages.items():
        (folder / name).parent.mkdir(exist_ok=True)
        nbformat.write(notebook, folder / f"{name}.ipynb")
    (folder / "chapters" / "claims.md").write_text("# Claims\n\n| claim | verdict |\n|---|---|\n| one | open |\n")
    return folder


def assembled(executed, out):
    book.assemble(study.load(executed / "demo.yaml"), executed / "chapters", executed / "runs", out)
    return out


def test_contents_follow_the_study_and_every_page_of_it_bears_the_banner(executed, tmp_path):
    out = assembled(executed, tmp_path / "book")
    contents = (out / "_toc.yml").read_text()
    assert re.findall(r"file: (\S+)", contents) == [
        "models", "similarity", "structural_probe", "extra", "claims", "deviations", "reproduce", "references",
        "parity", "runs/finetune-nli-1", "runs/structural_probe-base",
    ]  # fmt: skip
    assert "title: 'Structural probe: base'" in contents
    pages = [*out.glob("*.ipynb"), *out.glob("runs/*.ipynb")]
    assert len(pages) == 8
    for page in pages:
        cell = nbformat.read(page, as_version=4).cells[0].source
        assert cell.startswith("# ") and cell.index(BANNER) > cell.index("\n") and ":class: warning" in cell, page
    assert BANNER in (out / "claims.md").read_text() and BANNER not in (out / "reproduce.md").read_text()
    assert not list(out.rglob("*.py")) and list(out.rglob("plotly*.js")) == [out / "_static" / "plotly.min.js"]


def test_a_page_that_is_gone_leaves_the_book(executed, tmp_path):
    copy = shutil.copytree(executed, tmp_path / "executed")
    assembled(copy, tmp_path / "book")
    (copy / "runs" / "finetune-nli-1.ipynb").unlink()
    out = assembled(copy, tmp_path / "book")
    assert [page.stem for page in out.glob("runs/*")] == ["structural_probe-base"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["book", "executed"]


def test_a_study_without_a_banner_adds_none(executed, tmp_path):
    plain = study.load(executed / "demo.yaml").model_copy(update={"banner": ""})
    book.assemble(plain, executed / "chapters", tmp_path / "no runs", tmp_path / "book")
    assert "admonition" not in (tmp_path / "book" / "index.ipynb").read_text()
    assert "runs/" not in (tmp_path / "book" / "_toc.yml").read_text()


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


@pytest.fixture(scope="module")
def site(executed, tmp_path_factory):
    """The built book; a warning of the builder is an error."""
    source = assembled(executed, tmp_path_factory.mktemp("site") / "book")
    command = [Path(sys.executable).with_name("jupyter-book"), "build", source, "-n", "-W", "--keep-going"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return source / "_build" / "html"


def pages(site):
    return sorted(p for p in site.rglob("*.html") if p.stem not in ("genindex", "search") and "_static" not in p.parts)


@pytest.mark.parametrize("path", sorted((ROOT / "notebooks" / "chapters").glob("*.ipynb")), ids=lambda path: path.stem)
def test_chapters_show_what_they_say_and_not_their_code(path):
    code = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    assert all({"parameters", "remove-input"} & set(cell.metadata.get("tags", [])) for cell in code)


@pytest.mark.slow
def test_no_page_loads_anything_from_outside_and_plotly_is_there_once(site):
    assert len(pages(site)) == 12
    for page in pages(site):
        tags = re.findall(r"<(?:script|link|img|iframe|source)\b[^>]*>", page.read_text(encoding="utf-8"))
        assert not [tag for tag in tags if re.search(r"""(?:src|href)=["']?(?:https?:)?//""", tag)], page
        assert sum("plotly.min.js" in tag for tag in tags) == 1, page
    assert len(list(site.rglob("plotly*.js"))) == 1


@pytest.fixture(scope="module")
def browser():
    chromium = shutil.which("chromium")
    if not chromium:
        if os.environ.get("CI") == "true":
            pytest.fail("chromium is not installed: apt-get install chromium")
        pytest.skip("Debian's chromium is not installed")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        window = driver.chromium.launch(executable_path=chromium, args=list(QUIET))
        yield window
        window.close()


@pytest.mark.slow
@pytest.mark.parametrize("width", [1400, 390])
def test_every_page_is_whole_in_a_browser_without_a_network(site, browser, width):
    context = browser.new_context(offline=True, viewport={"width": width, "height": 1000})
    context.set_default_timeout(10_000)
    seen, wrong = [], []
    context.on("request", lambda request: seen.append(request.url))
    context.on("requestfailed", lambda request: wrong.append(f"{request.url}: {request.failure}"))
    context.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
    context.on("weberror", lambda error: wrong.append(str(error.error)))
    drawn = 0
    for address in pages(site):
        page = context.new_page()
        page.goto(address.as_uri())
        for figure in page.locator(".bert-repro-figure").all():
            figure.locator(".scatterlayer path:is(.js-line, .point)").first.wait_for(state="attached")
            box, plot = figure.bounding_box(), figure.locator(".main-svg").first.bounding_box()
            legend = figure.locator(".legend").bounding_box()
            axis, panel = figure.locator(".xtitle").bounding_box(), figure.locator(".scatterlayer").bounding_box()
            assert plot["width"] <= box["width"] + 1 and legend["x"] + legend["width"] <= box["x"] + box["width"] + 1
            assert legend["y"] >= axis["y"] + axis["height"] - 1, "the legend covers the axis title"
            assert panel["height"] > 150, "the legend leaves no room for the curves"
            drawn += 1
        for formula in page.locator(".math").all():
            formula.locator("mjx-container").first.wait_for(state="visible")
        wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert wide <= 0, f"{address.name} is {wide} pixels too wide"
        assert page.evaluate("window.ran") is None, f"text of a corpus ran as a script on {address.name}"
        if address.stem in ("similarity", "structural_probe", "extra"):
            assert "<script>window.ran = true</script> costs $5 and $6" in page.locator("article").inner_text()
        if address.stem not in ("deviations", "reproduce", "references"):
            assert page.get_by_text(BANNER.replace("'", "’")).first.is_visible()
        page.close()
    context.close()
    assert drawn == 5 and not wrong
    assert not [url for url in seen if not url.startswith(("file:", "data:", "blob:"))]
