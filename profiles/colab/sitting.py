"""A study in sittings, on machines that are lent for some hours and forget, with what has to last kept in a folder that stays.

`python profiles/colab/sitting.py --hours 11 FOLDER COMMAND ...`, in a clone, brings back what earlier sittings left in FOLDER,
runs the command, copies what is new there every few minutes, and stops the command in time for a last copy. Kept are the clone
as it was at the first sitting, with times, so that nothing counts as changed; what it built; and the state of trainings. The
environment, weights, data and hidden states are not: they are fetched or computed again where they are needed.

A folder that is not there is an error. Only Python itself is needed.
"""

import argparse
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FORGOTTEN = {".venv", ".venv-torch", ".tools", ".git", "__pycache__", ".ruff_cache", ".mypy_cache", ".pytest_cache"}
OF_SNAKEMAKE = "metadata"  # of its folder .snakemake, what tells a later run what was made of what
MARK = "bert_repro.egg-info"  # left behind by an environment, which is made anew
BEGUN = ".sitting"  # a file of a machine on which there was a sitting before


def main() -> int:
    """Run a command in a sitting; give its exit status, or 3 where time was up."""
    parser = argparse.ArgumentParser(description="Run a command, with what it leaves kept in a folder that stays.")
    parser.add_argument("folder", type=Path, help="that stays, e.g. of a mounted drive")
    parser.add_argument("--hours", type=float, default=11.0, help="after which the command is stopped")
    parser.add_argument("--every", type=float, default=10.0, help="minutes between two copies")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    given = parser.parse_args()
    if not given.command:
        parser.error("a command is missing: what is to be run, e.g. make report")
    if not given.folder.is_dir():
        parser.error(f"no folder {given.folder}: mount it first, or make it")
    places = {given.folder.absolute() / "clone": ROOT, given.folder.absolute() / "training": cache() / "training"}
    if not (ROOT / BEGUN).exists():  # on the same machine, what is here is newer
        for kept, here in places.items():
            mirror(kept, here, remove=False)
        (ROOT / BEGUN).touch()
    # where a shell began this in the background, it is ignored, and what is started below would ignore it too
    signal.signal(signal.SIGINT, signal.default_int_handler)
    end = time.monotonic() + 3600 * given.hours
    with subprocess.Popen(given.command, cwd=ROOT, start_new_session=True) as running:
        try:
            while (left := end - time.monotonic()) > 0:
                try:
                    return running.wait(min(60 * given.every, left))
                except subprocess.TimeoutExpired:
                    for kept, here in places.items():
                        mirror(here, kept)
            print(f"{given.hours:g} hours are over: the next sitting goes on from here", file=sys.stderr)
            return 3
        finally:
            if running.poll() is None:  # as Ctrl-C does: a report ends its jobs before itself
                os.killpg(running.pid, signal.SIGINT)
                running.wait()
            for kept, here in places.items():
                mirror(here, kept)


def cache() -> Path:
    """Give the package's cache folder, which has to be known before there is an environment."""
    return Path(os.environ.get("BERT_REPRO_CACHE") or Path.home() / ".cache" / "bert_repro")


def mirror(source: Path, target: Path, remove: bool = True) -> None:
    """Make a folder hold what another one does, as far as it is kept, whole files with their times alone.

    Args:
        source: What is copied; nothing where it is not there.
        target: Where to.
        remove: Whether what the source does not have goes.
    """
    there = set(files(source))
    for name in sorted(there):
        new, old = source / name, target / name
        try:
            told = new.stat()
            if old.is_file() and (old.stat().st_size, int(old.stat().st_mtime)) == (told.st_size, int(told.st_mtime)):
                continue
            old.parent.mkdir(parents=True, exist_ok=True)
            partial = old.with_name(f".{old.name}.copying")
            shutil.copy2(new, partial)
            partial.replace(old)
        except FileNotFoundError:  # a job has replaced it meanwhile: the next copy has it
            continue
    for name in set(files(target)) - there if remove else ():
        (target / name).unlink(missing_ok=True)


def files(folder: Path) -> Iterator[str]:
    """List the files of a folder that are kept, by their places in it; of links, none."""
    for place, folders, names in os.walk(folder):
        inside = Path(place).relative_to(folder)
        folders[:] = [name for name in folders if name not in FORGOTTEN and name != MARK]
        if inside.parts[-1:] == (".snakemake",):
            folders[:], names = [name for name in folders if name == OF_SNAKEMAKE], []
        yield from (str(inside / name) for name in names if name != BEGUN and not (Path(place) / name).is_symlink())


if __name__ == "__main__":
    sys.exit(main())
