"""Book source: hides which pages a book of one or more studies has, in what order, and what only the book can fill in.

It refuses notebooks that were not executed to their end, or that have no heading to be listed under.

A study is a *part* of the book: published ones under their names, the reader's own under `yours`. Pages link to chapters by
their bare names: those of their own part or, from a page that belongs to none, those of the first; and to what a study does
not have, not at all.
"""

import argparse
import functools
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import nbformat
import pandas as pd
import yaml
from plotly.offline import get_plotlyjs

from bert_repro import figures, files
from bert_repro.figures import exhibits, scorecard
from bert_repro.figures.templates import render
from bert_repro.finetune import TASKS
from bert_repro.results import claims, provenance, tables, verdicts
from bert_repro.workflow import names, staleness
from bert_repro.workflow import study as studies
from bert_repro.workflow.notebooks.page import mathjax_script

BOOK = Path(__file__).resolve().parent
OWN, RUNS = "yours", "runs"
METHOD = (
    "life",
    "compare",
    "reproduce",
    "sittings",
    "extending",
    "api",
    "deviations",
    "parity",
    "glossary",
    "references",
)
_HEADING = re.compile(r"^# +(.+?)\s*$", re.MULTILINE)
_TABLE = '<span class="table-number"></span>'  # see figures/templates/table.html
_PLOTLY = "application/vnd.plotly.v1+json"
_CHANGES = {
    "frozen": "lowest {} blocks frozen",
    "kept": "cut to {} blocks",
    "untrained": "from an untrained encoder",
    "partial": "on partial input",
}
_DOC = re.compile(r"\{doc\}`([a-z_]+)`")


class Part(NamedTuple):
    """A study that the book shows: the name of its pages' folder, and where its tables lie."""

    folder: str
    study: studies.Study
    tables: Path

    @property
    def heading(self) -> str:
        whose = "Your run: study" if self.folder == OWN else "Published study"
        return f"{whose} {self.study.name}, {self.study.title}"

    @property
    def kind(self) -> str:
        return "yours" if self.folder == OWN else "published"

    def banner(self) -> str:
        """Say whose numbers these are, what they can say, and whether any is older than the code."""
        stale = _stale(self.tables)
        lines = [self.study.banner.strip()] if self.study.banner else []
        lines += [f"{stale} are **stale**: see the page of the runs."] if stale else []
        text = "\n\n".join(lines) or "In the paper's own setting."
        return f":::{{admonition}} {self.heading}\n:class: banner {self.kind}\n{text}\n:::"

    def line(self) -> str:
        """Say whose numbers these are in one line, for the pages after a study's first."""
        return render("whose", kind=self.kind, heading=self.heading, stale=_stale(self.tables))

    def answer(self, chapter: str) -> str:
        """Give the claims that a chapter argues about with their verdicts in this study; empty where it has none."""
        argued = [claim for claim in claims.load().claims if claim.chapter == chapter]
        if not argued or not any(self.tables.glob("*.parquet")):
            return ""
        judged = _judged(self.tables, self.study.name)
        return scorecard.table(argued, {"in this study": judged}, {"in this study": "claims.html"})


@functools.cache  # compares every text with what is read today
def _stale(folder: Path) -> str:
    stale = staleness.stale_tables(folder)
    return f"{len(stale)} of {len(provenance.manifests(folder))} tables" if stale else ""


@functools.cache
def _judged(folder: Path, study: str) -> pd.DataFrame:
    return verdicts.verdicts(claims.load(), tables.merge(folder), study)


def assemble(parts: list[Part], chapters: Path, runs: Path, out: Path, repository: str = "") -> None:
    """Write the source of a book, replacing what `out` held.

    Args:
        parts: The studies, in their order.
        chapters: Executed chapter notebooks: `index.ipynb` and others of no study, and a folder of those of each part.
        runs: Executed run notebooks of the reader's own study; may be empty or absent.
        out: Folder of the book's source, for `jupyter-book build`.
        repository: Address of the project on GitHub, for Binder and Colab; none gives no such links.

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
        shutil.copyfile(files.ROOT / "CONTRIBUTING.md", new / "extending.md")
        (new / "_static" / "plotly.min.mjs").write_text(get_plotlyjs(), encoding="utf-8")
        shutil.copyfile(mathjax_script(), new / "_static" / "tex-svg.mjs")
        sources = sorted(p for p in (files.ROOT / "notebooks").rglob("*.ipynb") if ".ipynb_checkpoints" not in p.parts)
        for source in sources:  # as they are in the repository, to be taken and rerun
            place = new / "files" / source.relative_to(files.ROOT)
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, place)
        there = {part.folder: _order(part, chapters / part.folder) for part in parts}
        page = _Pages(new, parts, there, {str(source.relative_to(files.ROOT)) for source in sources}, repository)
        for markdown in new.glob("*.md"):
            markdown.write_text(page.linked(markdown.read_text(encoding="utf-8"), markdown.stem), encoding="utf-8")
        for notebook in sorted(chapters.glob("*.ipynb")):
            page.copy(notebook, notebook.stem, parts if notebook.stem == "index" else [])
        for part in parts:
            for number, name in enumerate(there[part.folder], start=1):
                page.copy(chapters / part.folder / f"{name}.ipynb", f"{part.folder}/{name}", [part], number)
        own = [part for part in parts if part.folder == OWN]
        titles = {
            source.stem: page.copy(source, f"{OWN}/runs/{source.stem}", own)
            for source in sorted(runs.glob("[!.]*.ipynb"))
            if ".failed" not in source.suffixes
        }
        contents = _contents(new, parts, there, titles)
        (new / "_toc.yml").write_text(yaml.safe_dump(contents, sort_keys=False), encoding="utf-8")
        if out.exists():
            shutil.rmtree(out)
        new.rename(out)


def _order(part: Part, folder: Path) -> list[str]:
    """List the chapters of a part that there are, in their order."""
    there = {page.stem for page in folder.glob("[!.]*.ipynb")}
    known = [name for name in (*part.study.chapters, *names.END) if name in there]
    return known + sorted(there - set(known))


def _contents(new: Path, parts: list[Part], there: dict[str, list[str]], titles: dict[str, str]) -> dict[str, object]:
    """Write the table of contents: the parts, with the single runs under their chapter, and method."""
    pages = {page.stem for page in [*new.glob("*.md"), *new.glob("*.ipynb")]}
    order = [run.name for part in parts if part.folder == OWN for run in studies.runs(part.study)]
    ordered = sorted(titles, key=lambda name: (order.index(name) if name in order else len(order), name))
    runs = [{"file": f"{OWN}/runs/{name}", "title": titles[name]} for name in ordered]
    listed = []
    for part in parts:
        entries: list[dict[str, object]] = [{"file": f"{part.folder}/{name}"} for name in there[part.folder]]
        for entry in entries:
            if entry["file"] == f"{OWN}/{RUNS}" and runs:  # folded in the sidebar until it is opened
                entry["sections"] = runs
        if part.folder not in (parts[0].folder, OWN):  # further published studies are folded: the list fits a screen
            entries = [{**entries[0], "sections": entries[1:]}]
        listed.append({"caption": part.heading, "chapters": entries})
    more = sorted(pages - {*METHOD, "index"})
    listed += [
        {
            "caption": "Across studies, and method",
            "chapters": [{"file": name} for name in (*METHOD, *more) if name in pages],
        },
    ]
    return {"format": "jb-book", "root": "index", "parts": [part for part in listed if part["chapters"]]}


class _Pages:
    """What every page of one book gets: banners, links, numbers of figures, files to take away."""

    def __init__(
        self, book: Path, parts: list[Part], there: dict[str, list[str]], notebooks: set[str], repository: str
    ):
        self.book, self.there, self.notebooks, self.repository = book, there, notebooks, repository
        self.first, self.first_study = parts[0].folder, parts[0].study.name
        self.chapters = {*names.chapters(), *names.END}
        self.banners = {part.folder: (part.banner(), part.line()) for part in parts}
        self.answers = {f"{part.folder}/{name}": part.answer(name) for part in parts for name in there[part.folder]}

    def copy(self, source: Path, name: str, parts: list[Part], number: int | None = None) -> str:
        """Put an executed notebook into the book as page `name`; give its heading."""
        notebook = nbformat.read(source, as_version=4)
        _check(notebook, source)
        figures = listed = 0
        of_chapter = "" if number is None else f"{number}."
        for cell in notebook.cells:
            if "/runs/" not in name and {"parameters", "injected-parameters"} & set(cell.metadata.get("tags", [])):
                cell.metadata["tags"] = [*cell.metadata["tags"], "remove-cell"]  # the banner says what a chapter shows
            if cell.cell_type == "markdown":
                cell.source = self.linked(cell.source, name)
            for data in _outputs(cell):
                if "text/markdown" in data:  # a sentence of a corpus is shown as it is, never read as markup
                    data["text/markdown"] = re.sub(r"<(?=[A-Za-z/!?])", r"\\<", data["text/markdown"])
                if exhibits.MIME in data:
                    figures += 1
                    data["text/html"] = self._exhibit(data, name, f"Figure {of_chapter}{figures}.")
                elif _TABLE in data.get("text/html", ""):
                    listed += 1
                    numbered = _TABLE.replace("><", f">Table {of_chapter}{listed}.<")
                    data["text/html"] = data["text/html"].replace(_TABLE, f"{numbered} ")
                data.pop(_PLOTLY, None)  # for JupyterLab; it would double every figure
        heading = self._head(notebook, source, name, parts)
        target = self.book / f"{name}.ipynb"
        target.parent.mkdir(parents=True, exist_ok=True)
        nbformat.write(notebook, target)
        return heading

    def linked(self, text: str, name: str) -> str:
        """Lead the links on page `name` to the chapters of its part, or of the first, and to the pages of no part."""
        part = self._part(name)

        def link(found: re.Match[str]) -> str:
            if found[1] not in self.chapters:
                return f"{{doc}}`/{found[1]}`"
            return f"{{doc}}`/{part}/{found[1]}`" if found[1] in self.there[part] else f"*{found[1].replace('_', ' ')}*"

        return _DOC.sub(link, text)

    def _part(self, name: str) -> str:
        return name.split("/")[0] if "/" in name else self.first

    def _exhibit(self, data: nbformat.NotebookNode, name: str, number: str) -> str:
        """Draw a figure again with its number and links, and put its rows beside the page as CSV."""
        up = "../" * name.count("/")
        facts = data.pop(exhibits.MIME)
        address = f"data/{name}-{facts['name']}.csv"
        place = self.book / "files" / address
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(data.pop("text/csv"), encoding="utf-8")
        run = "runs/{}.html" if self._part(name) == OWN else "runs.html#{}"
        if "/" not in name:
            run = f"{self.first}/{run}" if facts["study"] == self.first_study else ""
        links = exhibits.Links(number, up + address, run, f"{up}notebooks/{{}}.ipynb")
        return exhibits.drawn(data[_PLOTLY], facts, links)[0]

    def _head(self, notebook: nbformat.NotebookNode, source: Path, name: str, parts: list[Part]) -> str:
        """Put banners and the ways to the notebook below the heading; give the heading."""
        for cell in notebook.cells:
            heading = _HEADING.search(cell.source) if cell.cell_type == "markdown" else None
            if heading:
                firsts = {f"{part.folder}/{self.there[part.folder][0]}" for part in parts if name != "index"}
                banners = [self.banners[part.folder][0 if name in firsts else 1] for part in parts]
                title = _spelt(heading[1]) if "/runs/" in name else heading[1]
                cell.source = "\n\n".join(
                    [
                        cell.source[: heading.start(1)] + title,
                        *banners,
                        *self._launch(notebook, name),
                        cell.source[heading.end() :].strip("\n"),
                        self.answers.get(name, ""),
                    ]
                )
                return title
        raise ValueError(f"{source} has no heading (`# ...` in a Markdown cell), under which the book could list it")

    def _launch(self, notebook: nbformat.NotebookNode, name: str) -> Iterator[str]:
        """Offer the page's notebook as it is in the repository: to take away, and to run elsewhere."""
        path = notebook.metadata.get("bert_repro", {}).get("notebook")
        if path not in self.notebooks:
            return
        home = self.repository.removeprefix("https://github.com/").removesuffix("/").removesuffix(".git")
        yield render("launch", up="../" * name.count("/"), path=path, home=home)


def _spelt(title: str) -> str:
    """Spell the models in the title of a run: `nli-frozen4-1` as `NLI, lowest 4 blocks frozen, seed 1`."""

    def spell(name: re.Match[str]) -> str:
        changes = [
            _CHANGES[kind].format(count)
            for kind, count in re.findall(r"-(frozen|kept|untrained|partial)(\d*)", name[0])
        ]
        return ", ".join([figures.short(name[1]), *changes, f"seed {name[3]}"])

    return re.sub(rf"\b({'|'.join(TASKS)})((?:-[a-z]+\d*)*)-(\d+)\b", spell, title)


def _outputs(cell: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return [output.data for output in cell.get("outputs", []) if "data" in output]


def _check(notebook: nbformat.NotebookNode, source: Path) -> None:
    code = [cell for cell in notebook.cells if cell.cell_type == "code" and cell.source.strip()]
    failed = any(output.output_type == "error" for cell in code for output in cell.outputs)
    if failed or notebook.metadata.get("papermill", {}).get("exception"):
        raise ValueError(f"{source} failed while it ran: read its traceback, then run it again")
    if any(cell.execution_count is None for cell in code):
        raise ValueError(f"{source} was not executed to its end: the book shows executed notebooks only")


def repository() -> str:
    """Give the project's address on GitHub: of _config.yml, or where this clone came from."""
    named = yaml.safe_load((BOOK / "_config.yml").read_text(encoding="utf-8"))["repository"]["url"]
    if named:
        return str(named)
    try:
        asked = ["git", "-C", str(files.ROOT), "remote", "get-url", "origin"]
        origin = subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip()
    except FileNotFoundError:  # no git on this machine
        return ""
    return origin if origin.startswith("https://github.com/") else ""


def main() -> None:
    """Read the command line and assemble."""
    parser = argparse.ArgumentParser(description="Assemble the source of a study's book for `jupyter-book build`.")
    parser.add_argument("--study", required=True, help="the reader's study file, e.g. studies/demo.yaml")
    parser.add_argument("--published", nargs="*", default=[], help="names of studies in results/")
    parser.add_argument("--build", required=True, type=Path, help="folder with the study's chapters, runs and tables")
    given = parser.parse_args()
    parts = [
        Part(name, studies.load(files.ROOT / "studies" / f"{name}.yaml"), files.ROOT / "results" / name / "tables")
        for name in given.published
    ]
    parts.append(Part(OWN, studies.load(given.study), given.build / "tables"))
    assemble(parts, given.build / "chapters", given.build / "runs", given.build / "book", repository())


if __name__ == "__main__":
    main()
