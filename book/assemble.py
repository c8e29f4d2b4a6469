"""Book source: hides which pages a study's book has and in what order, and where its banner and plotly.js come from.

It refuses notebooks that were not executed to their end, or that have no heading to be listed under.
"""

import argparse
import re
import shutil
import tempfile
from collections.abc import Set
from pathlib import Path

import nbformat
import yaml
from plotly.offline import get_plotlyjs

from bert_repro import study as studies
from bert_repro.page import mathjax_script

BOOK = Path(__file__).resolve().parent
METHOD = ("claims", "deviations", "reproduce", "references")
APPENDIX = ("parity",)
_HEADING = re.compile(r"^# +(.+?)\s*$", re.MULTILINE)


def assemble(study: studies.Study, chapters: Path, runs: Path, out: Path) -> None:
    """Write the source of a study's book, replacing what `out` held.

    Args:
        study: The study; its banner stands at the top of every chapter and run page.
        chapters: Folder of executed chapter notebooks, `index.ipynb` among them, and of generated Markdown pages.
        runs: Folder of executed run notebooks; may be empty or absent.
        out: Folder of the book's source, for `jupyter-book build`.

    Raises:
        FileNotFoundError: No `index.ipynb` among the chapters.
        ValueError: A notebook that failed, was not executed or has no heading.
    """
    if not (chapters / "index.ipynb").is_file():
        raise FileNotFoundError(f"no index.ipynb in {chapters}: the book's first page is an executed chapter notebook")
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as folder:
        new = Path(folder) / "book"
        shutil.copytree(BOOK, new, ignore=shutil.ignore_patterns("*.py", "__pycache__", "_build", ".*"))
        (new / "_static" / "plotly.min.js").write_text(get_plotlyjs(), encoding="utf-8")
        shutil.copyfile(mathjax_script(), new / "_static" / "tex-svg.mjs")
        for page in sorted(chapters.glob("*.md")):
            (new / page.name).write_text(_with_banner(page.read_text(encoding="utf-8"), study, page), encoding="utf-8")
        for notebook in sorted(chapters.glob("*.ipynb")):
            _copy(notebook, new / notebook.name, study, hidden={"parameters", "injected-parameters"})
        (new / "runs").mkdir()
        titles = {
            page.stem: _copy(page, new / "runs" / page.name, study)
            for page in sorted(runs.glob("[!.]*.ipynb"))
            if ".failed" not in page.suffixes
        }
        (new / "_toc.yml").write_text(yaml.safe_dump(_contents(new, study, titles), sort_keys=False), encoding="utf-8")
        if out.exists():
            shutil.rmtree(out)
        new.rename(out)


def _contents(new: Path, study: studies.Study, titles: dict[str, str]) -> dict[str, object]:
    """Write the table of contents: results, method, and one entry a run, in the study's order."""
    pages = {page.stem for page in [*new.glob("*.md"), *new.glob("*.ipynb")]}
    results = [
        *(c for c in study.chapters if c in pages),
        *sorted(pages - {*study.chapters, *METHOD, *APPENDIX, "index"}),
    ]
    order = {run.name: number for number, run in enumerate(studies.runs(study))}
    listed = sorted(titles, key=lambda name: (order.get(name, len(order)), name))
    runs = [{"file": f"runs/{name}", "title": titles[name]} for name in listed]
    parts = [
        {"caption": "Results", "chapters": [{"file": name} for name in results]},
        {"caption": "Method", "chapters": [{"file": name} for name in METHOD if name in pages]},
        {"caption": "Appendix", "chapters": [{"file": name} for name in APPENDIX if name in pages] + runs},
    ]
    return {"format": "jb-book", "root": "index", "parts": [part for part in parts if part["chapters"]]}


def _copy(source: Path, target: Path, study: studies.Study, hidden: Set[str] = frozenset()) -> str:
    """Copy an executed notebook with the banner below its heading and cells of some tags not shown; give the heading."""
    notebook = nbformat.read(source, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code" and cell.source.strip()]
    outputs = [output for cell in code for output in cell.outputs]
    failed = any(output.output_type == "error" for output in outputs)
    if failed or notebook.metadata.get("papermill", {}).get("exception"):
        raise ValueError(f"{source} failed while it ran: read its traceback, then run it again")
    if any(cell.execution_count is None for cell in code):
        raise ValueError(f"{source} was not executed to its end: the book shows executed notebooks only")
    for output in outputs:
        markdown = output.get("data", {}).get("text/markdown")
        if markdown is not None:  # a sentence of a corpus is shown as it is, never read as markup
            output.data["text/markdown"] = re.sub(r"<(?=[A-Za-z/!?])", r"\\<", markdown)
    for cell in code:
        if hidden & set(cell.metadata.get("tags", [])):
            cell.metadata["tags"] = [*cell.metadata["tags"], "remove-cell"]
    for cell in notebook.cells:
        heading = _HEADING.search(cell.source) if cell.cell_type == "markdown" else None
        if heading:
            cell.source = _with_banner(cell.source, study, source)
            nbformat.write(notebook, target)
            return heading[1]
    raise ValueError(f"{source} has no heading (`# ...` in a Markdown cell), under which the book could list it")


def _with_banner(text: str, study: studies.Study, source: Path) -> str:
    """Put the study's banner below a page's heading."""
    heading = _HEADING.search(text)
    if heading is None:
        raise ValueError(f"{source} has no heading (`# ...`), under which the book could list it")
    if not study.banner:
        return text
    banner = f":::{{admonition}} Study {study.name}: {study.title}\n:class: warning banner\n{study.banner.strip()}\n:::"
    return f"{text[: heading.end()]}\n\n{banner}\n{text[heading.end() :]}"


def main() -> None:
    """Read the command line and assemble."""
    parser = argparse.ArgumentParser(description="Assemble the source of a study's book for `jupyter-book build`.")
    parser.add_argument("--study", required=True, help="the study file, e.g. studies/demo.yaml")
    parser.add_argument("--base", default="", help="the base encoder, where it is not the study's own")
    parser.add_argument("--chapters", required=True, type=Path, help="folder of executed chapter notebooks")
    parser.add_argument("--runs", required=True, type=Path, help="folder of executed run notebooks")
    parser.add_argument("--out", required=True, type=Path, help="folder to write; what it holds is replaced")
    given = parser.parse_args()
    assemble(studies.load(given.study, given.base), given.chapters, given.runs, given.out)


if __name__ == "__main__":
    main()
