"""Papermill, made strict: hides how a notebook is checked, run in a kernel of this Python, stamped and made a web page.

It refuses what papermill lets pass: unknown or ill-typed parameters, cells that end early, half-written outputs.
"""

import ast
import difflib
import io
import json
import logging
import os
import re
import shlex
import sys
import tempfile
import time
import tokenize
import uuid
from collections.abc import Iterable
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import TypeAdapter, ValidationError

from bert_repro.files import ROOT
from bert_repro.workflow.notebooks.page import web_page


class NotebookError(RuntimeError):
    """A notebook's own code failed, or its kernel died."""


class Parameter(NamedTuple):
    """One line of a parameters cell: `name: type = default  # help`."""

    name: str
    type: str
    default: Any
    help: str


_SCALARS = {"str": str, "int": int, "float": float, "bool": bool, "object": object}


def find(notebook: Path | str) -> Path:
    """Give the path of a notebook named by path or, as `similarity`, by its name alone.

    Raises:
        ValueError: There is none; the message lists those there are.
    """
    path = Path(notebook)
    if path.suffix == ".ipynb" and path.is_file():
        return path
    folders = ROOT / "notebooks", ROOT / "notebooks" / "chapters"
    known = {p.stem: p for folder in reversed(folders) for p in sorted(folder.glob("*.ipynb"))}
    if str(notebook) in known:
        return known[str(notebook)]
    raise ValueError(f"no notebook {str(notebook)!r}: give a path to an .ipynb, or one of {', '.join(sorted(known))}")


def parameters(notebook: Path) -> list[Parameter]:
    """Read the parameters that a notebook declares.

    Raises:
        ValueError: Not a notebook, not exactly one cell tagged `parameters`, or a line in it of another form.
    """
    cells = [c for c in _read(notebook)["cells"] if "parameters" in c.get("metadata", {}).get("tags", [])]
    if len(cells) != 1 or cells[0]["cell_type"] != "code":
        raise ValueError(f"{notebook}: expected one code cell tagged `parameters`, found {len(cells)} cells so tagged")
    source = "".join(cells[0]["source"])
    try:
        statements = ast.parse(source).body
    except SyntaxError as error:
        raise ValueError(f"{notebook}: the parameters cell is not Python: line {error.lineno}: {error.msg}") from None
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    comments = {token.start[0]: token.string.lstrip("# ") for token in tokens if token.type == tokenize.COMMENT}
    result = []
    for line in statements:
        match line:
            case ast.AnnAssign(target=ast.Name(id=name), annotation=annotation, value=ast.expr() as value):
                try:
                    _resolve(annotation)
                    default = _literal(value)
                except ValueError as error:
                    raise ValueError(f"{notebook}: parameter {name}: {error}") from None
                result.append(Parameter(name, ast.unparse(annotation), default, comments.get(line.end_lineno or 0, "")))
            case _:
                raise ValueError(
                    f"{notebook}: the parameters cell holds {ast.unparse(line)!r}: "
                    "expected one `name: type = value  # help` a line, and nothing else"
                )
    return result


def metadata(notebook: Path) -> dict[str, Any]:
    """Give what a notebook says of itself.

    Raises:
        ValueError: Not a notebook.
    """
    return _read(notebook).get("metadata", {})


def check(notebook: Path, given: dict[str, object]) -> None:
    """Refuse settings that a notebook does not declare, or not with this type.

    Args:
        notebook: The notebook.
        given: Parameter names and their values: text, numbers, truth values, lists and dictionaries.

    Raises:
        ValueError: An unknown name, or a value that does not fit the annotation.
    """
    known = {parameter.name: parameter for parameter in parameters(notebook)}
    _names(notebook, known, given)
    for name, value in given.items():
        try:
            expected: TypeAdapter[object] = TypeAdapter(_resolve(ast.parse(known[name].type, mode="eval").body))
            expected.validate_python(value, strict=True)
            # What JSON changes (a tuple, a key that is no text) or lacks (nan) papermill would hand over as something else.
            if json.loads(json.dumps(value, allow_nan=False)) != value:
                raise ValueError("JSON has no such value")
        except (ValueError, TypeError) as error:
            why = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
            note = f" ({known[name].help})" if known[name].help else ""
            raise ValueError(
                f"{notebook}: parameter {name}{note} must be {known[name].type}, "
                f"got {repr(value)[:200]} of type {type(value).__name__}: {why}"
            ) from None


def parse(assignments: list[tuple[str, str]], notebook: Path) -> dict[str, object]:
    """Turn texts of the command line into values of the types that a notebook declares.

    Args:
        assignments: Names and texts. A `str` parameter takes the text as it is, the others read it as JSON.
        notebook: The notebook.

    Returns:
        Names and values, as `run` takes them.

    Raises:
        ValueError: A name that is unknown or comes twice, a text that is not JSON, or a value of another type.
    """
    known = {parameter.name: parameter for parameter in parameters(notebook)}
    _names(notebook, known, (name for name, _ in assignments))
    values: dict[str, object] = {}
    for name, text in assignments:
        if name in values:
            raise ValueError(f"parameter {name} is given twice: {values[name]!r} and {text!r}; keep one")
        try:
            values[name] = text if known[name].type == "str" else json.loads(text)
        except json.JSONDecodeError:
            example = shlex.quote(json.dumps(known[name].default))
            raise ValueError(
                f"{notebook}: cannot read {text!r} as {known[name].type}: write it as in `-p {name} {example}`"
            ) from None
    check(notebook, values)
    return values


def run(
    notebook: Path | str,
    output: Path,
    given: dict[str, object],
    *,
    html: bool = False,
    title: str | None = None,
    progress: bool = True,
) -> None:
    """Run a notebook with a setting, from the project root, and keep it executed.

    Args:
        notebook: A path, or a name such as `similarity`.
        output: Where the executed notebook goes, an .ipynb. Whole or not at all: a failed run keeps what it has done
            beside it, as `<stem>.failed.ipynb`, until one succeeds.
        given: Parameters; the others keep their defaults.
        html: Also leave `<stem>.html`, one page that needs no network.
        title: The setting, put behind the notebook's heading: `# Similarity` becomes `# Similarity: <title>`.
        progress: Show a bar of cells. What cells write to stderr always shows, and is never stored.

    Raises:
        ValueError: The notebook or a parameter is not as it should be; nothing was run.
        NotebookError: A cell failed or the kernel died.
    """
    import papermill
    from nbclient.exceptions import DeadKernelError

    from bert_repro.results.provenance import commit

    notebook, output = find(notebook).absolute(), Path(output).absolute()
    if output.suffix != ".ipynb" or output == notebook:
        raise ValueError(f"cannot write the executed notebook to {output}: give another path that ends in .ipynb")
    check(notebook, given)
    if title is not None:
        _stamp(notebook, _read(notebook)["cells"], title)  # told now, not after hours of work
    stamps = {
        "notebook": str(notebook.relative_to(ROOT) if notebook.is_relative_to(ROOT) else notebook.name),
        "parameters": given,
        "version": version("bert_repro"),
        "commit": commit(),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    output.parent.mkdir(parents=True, exist_ok=True)
    partial, failed = output.with_name(f".{output.stem}.partial.ipynb"), output.with_suffix(".failed.ipynb")
    logging.getLogger("papermill").setLevel(logging.ERROR)  # it misreads comments that hold a `=`, and warns of them
    # a callback may be cut off while the kernel of a failed notebook is shut down; why it failed is told all the same
    logging.getLogger("tornado.general").setLevel(logging.CRITICAL)
    begin, problem = time.monotonic(), ""
    try:
        done = papermill.execute_notebook(
            _unfilled(notebook),
            _unfilled(partial),
            given,
            kernel_name="python3",
            language="python",
            kernel_manager_class=_kernel_of_this_python(),
            progress_bar={"desc": notebook.stem} if progress else False,
            stderr_file=_WithoutGreetings(),
            cwd=ROOT,
            start_timeout=300,  # seconds; both limits are generous because busy machines are slow, not broken
            iopub_timeout=60,
        )
        if done.metadata.papermill.exception:  # papermill takes sys.exit() for success, with the later cells not run
            problem = "SystemExit: the cell ended the notebook early"
    except papermill.PapermillExecutionError as error:
        problem = f"{error.ename}: {error.evalue}"
    except (RuntimeError, TimeoutError) as error:
        dead = isinstance(error, DeadKernelError)
        problem = "the kernel died: out of memory?" if dead else f"the kernel does not answer: {error}"
    except BaseException:  # Ctrl-C too
        partial.unlink(missing_ok=True)
        raise
    if problem:
        os.replace(partial, failed)
        problem = " ".join(problem.split())[:600]  # one line, even of TensorFlow
        raise NotebookError(f"{stamps['notebook']}, {_last_cell(failed)}: {problem} (see {failed})")

    for cell in done.cells:
        if "outputs" in cell:
            cell.outputs = [o for o in cell.outputs if (o.output_type, o.get("name")) != ("stream", "stderr")]
    if title is not None:
        _stamp(notebook, done.cells, title)
    done.metadata["bert_repro"] = stamps | {"seconds": round(time.monotonic() - begin, 1)}
    for key in ("input_path", "output_path"):  # paths of this machine
        done.metadata.papermill.pop(key, None)
    papermill.iorw.write_ipynb(done, str(partial))
    os.replace(partial, output)
    failed.unlink(missing_ok=True)
    if html:
        page = output.with_name(f".{output.stem}.partial.html")
        page.write_text(web_page(done, output.stem), encoding="utf-8")
        os.replace(page, output.with_suffix(".html"))


class _WithoutGreetings(io.TextIOBase):
    """The terminal, less the greetings of TensorFlow."""

    def write(self, text: str) -> int:
        from bert_repro.states import without_greetings  # NumPy takes its time to start

        return sys.stderr.write(without_greetings(text))

    def flush(self) -> None:
        sys.stderr.flush()


def _read(notebook: Path) -> dict[str, Any]:
    try:
        content = json.loads(Path(notebook).read_text(encoding="utf-8"))
    except ValueError:
        content = None
    if not isinstance(content, dict) or content.get("nbformat") != 4:
        raise ValueError(f"{notebook} is not a Jupyter notebook of format 4")
    return content


def _resolve(annotation: ast.expr) -> Any:
    """Give the type an annotation names, without running it."""
    match annotation:
        case ast.Name(id=name) if name in _SCALARS:
            return _SCALARS[name]
        case ast.Subscript(value=ast.Name(id="list"), slice=item):
            return list[_resolve(item)]  # type: ignore[misc]
        case ast.Subscript(value=ast.Name(id="dict"), slice=ast.Tuple(elts=[ast.Name(id="str"), item])):
            return dict[str, _resolve(item)]  # type: ignore[misc]
    raise ValueError(f"the type {ast.unparse(annotation)} is not {', '.join(_SCALARS)}, list[...] or dict[str, ...]")


def _literal(value: ast.expr) -> Any:
    try:
        return ast.literal_eval(value)
    except ValueError:
        raise ValueError(
            f"the default {ast.unparse(value)!r} must be a plain value; compute it in a later cell"
        ) from None


def _names(notebook: Path, known: dict[str, Parameter], given: Iterable[str]) -> None:
    for name in given:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1, cutoff=0)
            hint = f"did you mean {near[0]!r}? " if near else ""
            has = ", ".join(f"{p.name}: {p.type}" for p in known.values()) or "none"
            raise ValueError(f"{notebook} has no parameter {name!r}: {hint}It has {has}")


def _stamp(notebook: Path, cells: list[dict[str, Any]], title: str) -> None:
    """Put the setting behind the first heading."""
    for cell in cells:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown" and (heading := re.search(r"^#+ .*\S", source, re.MULTILINE)):
            cell["source"] = f"{source[: heading.end()]}: {' '.join(title.split())}{source[heading.end() :]}"
            return
    raise ValueError(f"{notebook}: no heading to put the title {title!r} behind: begin it with a cell `# ...`")


def _kernel_of_this_python() -> type:
    """Give a kernel manager that no `python3` kernel installed for the user can divert to another Python.

    It talks through sockets in the file system: of two runs that start at once, one could take the other's network port.
    """
    from ipykernel.kernelspec import get_kernel_dict
    from jupyter_client.kernelspec import KernelSpec
    from jupyter_client.manager import AsyncKernelManager
    from traitlets import default

    class Kernel(AsyncKernelManager):
        transport = "ipc"
        # its command begins with sys.executable; below critical it would log that it was interrupted, which is how it is shut down
        kernel_spec = KernelSpec(**get_kernel_dict(["--log-level=CRITICAL"]))

        @default("connection_file")
        def _new_file(self) -> str:  # the sockets lie beside it; short, as their paths may have 107 characters
            return str(Path(tempfile.gettempdir()) / f"bert_repro-{uuid.uuid4().hex[:12]}.json")

    return Kernel


def _unfilled(path: Path) -> str:
    """Write a path so that papermill, which fills {names} in paths, takes it as it is."""
    return str(path).replace("{", "{{").replace("}", "}}")


def _last_cell(executed: Path) -> str:
    """Name the cell that a failed notebook stopped in, counted as in its source."""
    added = {"injected-parameters", "papermill-error-cell-tag"}
    cells = [c for c in _read(executed)["cells"] if not added & set(c["metadata"].get("tags", []))]
    started = [n for n, cell in enumerate(cells, 1) if cell["metadata"].get("papermill", {}).get("start_time")]
    return f"cell {started[-1]} of {len(cells)}" if started else "before its first cell"
