"""Papermill, made strict: checks a notebook and its parameters, runs it with this Python, stamps it and makes a web page.

What papermill lets pass is an error: unknown or ill-typed parameters, cells that end early, half-written outputs.
"""

import io
import logging
import os
import re
import sys
import tempfile
import time
import uuid
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from bert_repro.files import OUTSIDE, ROOT, without_greetings
from bert_repro.results import parameters
from bert_repro.workflow.notebooks.page import web_page

SOCKETS = 70  # characters of a folder; the names of sockets in it have 36


class NotebookError(RuntimeError):
    """A notebook's own code failed, or its kernel died."""


def find(notebook: Path | str) -> Path:
    """Give the path of a notebook named by path or, as `similarity`, by its name alone.

    Raises:
        ValueError: There is none; the message lists those there are.
    """
    path = Path(notebook)
    if path.suffix == ".ipynb" and path.is_file():
        return path
    folders = ROOT / "notebooks", ROOT / "notebooks" / "chapters"
    paths = {p.stem: p for folder in reversed(folders) for p in sorted(folder.glob("*.ipynb"))}
    if str(notebook) in paths:
        return paths[str(notebook)]
    names = ", ".join(sorted(paths)) or OUTSIDE
    raise ValueError(f"no notebook {str(notebook)!r}: give a path to an .ipynb, or one of {names}")


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
        progress: Whether to show a progress bar of cells. What cells write to stderr is always shown, and never stored.

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
    parameters.check(notebook, given)
    if title is not None:
        _stamp(notebook, parameters.content(notebook)["cells"], title)  # told now, not after hours of work
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
    """The terminal, without the greetings of TensorFlow."""

    def write(self, text: str) -> int:
        return sys.stderr.write(without_greetings(text))

    def flush(self) -> None:
        sys.stderr.flush()


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
        # its command begins with sys.executable; below critical it would log that it was interrupted, which is how it is shut down,
        # or that a callback was cut off by that
        quiet = "__import__('logging').getLogger('tornado.general').setLevel('CRITICAL')"
        kernel_spec = KernelSpec(**get_kernel_dict(["--log-level=CRITICAL", f"--IPKernelApp.exec_lines={quiet}"]))

        @default("connection_file")
        def _new_file(self) -> str:
            return str(_short_place() / f"bert_repro-{uuid.uuid4().hex[:12]}.json")

    return Kernel


def _short_place() -> Path:
    """Give a folder for a kernel's sockets, whose paths may have 107 characters: that for temporary files, or one by a short name."""
    usual = Path(tempfile.gettempdir())
    if len(str(usual)) <= SOCKETS:
        return usual
    return next((place for place in (Path("/tmp"), Path("/dev/shm")) if os.access(place, os.W_OK)), usual)


def _unfilled(path: Path) -> str:
    """Write a path so that papermill, which fills {names} in paths, takes it as it is."""
    return str(path).replace("{", "{{").replace("}", "}}")


def _last_cell(executed: Path) -> str:
    """Name the cell that a failed notebook stopped in, counted as in its source."""
    added = {"injected-parameters", "papermill-error-cell-tag"}
    cells = [c for c in parameters.content(executed)["cells"] if not added & set(c["metadata"].get("tags", []))]
    started = [n for n, cell in enumerate(cells, 1) if cell["metadata"].get("papermill", {}).get("start_time")]
    return f"cell {started[-1]} of {len(cells)}" if started else "before its first cell"
