"""Kill a study at random moments, go on each time, and compare what comes of it with an undisturbed run.

    python tests/killed.py [studies/demo.yaml] [--kills 10] [--seed 0] [--folder FOLDER] [--calm CLONE] [--beside]

It clones the last commit twice, each with a cache of its own. One clone runs undisturbed (or `--calm` names one that did); the
other is killed by SIGKILL, with all that it started, ten times. After each kill every table must have the bytes of the
undisturbed run's, and nothing that was finished at an earlier kill may have been made again: no notebook, table, checkpoint or
shard. In the end all tables are compared. It takes about two and a half times as long as the study, and ends with 1 where
anything differs. With `--beside` nothing is killed: two clones run at once on one cache that is empty.
"""

import argparse
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parent.parent
SETTLED = 3.0  # seconds after which a file counts as finished: Snakemake notes shortly after a notebook that it is done


class Clone:
    """A clone of the project with a cache of its own."""

    def __init__(self, root: Path, study: str, name: str, cache: Path | None = None):
        self.root, self.study, self.out = root, study, root / "build" / name
        self.cache = cache or root.with_name(f"{root.name}-cache")
        if not root.exists():
            subprocess.run(["git", "clone", "-q", ROOT, root], check=True)
            shutil.rmtree(
                root / "results" / "minilm"
            )  # the published chapters only read tables: they take time and show nothing

    def start(self) -> subprocess.Popen:
        with open(self.root.with_suffix(".log"), "a") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "bert_repro", "report", self.study],
                cwd=self.root,
                env=os.environ | {"PYTHONPATH": str(self.root), "BERT_REPRO_CACHE": str(self.cache)},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def finish(self) -> float:
        """Run to the end; give the seconds that it took."""
        begin = time.monotonic()
        if self.start().wait():
            sys.exit(f"the report in {self.root} failed: see {self.root.with_suffix('.log')}")
        return time.monotonic() - begin

    def kill_after(self, seconds: float) -> bool:
        """Start, and kill everything that was started after some seconds; tell whether it had ended by itself."""
        running = self.start()
        try:
            running.wait(timeout=seconds)
            return True
        except subprocess.TimeoutExpired:
            everything = [*psutil.Process(running.pid).children(recursive=True), psutil.Process(running.pid)]
            for process in everything:
                try:
                    process.kill()
                except psutil.NoSuchProcess:
                    pass
            psutil.wait_procs(everything, timeout=10)
            running.wait()
            return False

    def tables(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in self.out.glob("tables/[a-z]*.parquet")}

    def finished(self) -> dict[Path, int]:
        """Give what is finished, and when each was made."""
        kinds = {
            self.out: ("tables/[a-z]*.parquet", "runs/[a-z]*.ipynb", "models/*/model.safetensors"),
            self.cache: ("states/*/[0-9]*.json",),
        }
        paths = [path for folder, patterns in kinds.items() for pattern in patterns for path in folder.glob(pattern)]
        made = {path: path.stat().st_mtime_ns for path in paths}
        return {path: moment for path, moment in made.items() if time.time_ns() - moment > SETTLED * 1e9}


def compare(
    killed: Clone, calm: Clone, before: dict[Path, int], done: bool = False
) -> tuple[int, list[str], list[str]]:
    """Give how many tables there are, which differ from the undisturbed run's (or, once done, are missing), and what was made again."""
    wanted, found = calm.tables(), killed.tables()
    looked_at = found.keys() | wanted.keys() if done else found.keys()
    differ = sorted(name for name in looked_at if found.get(name) != wanted.get(name))
    again = [path.name for path, moment in before.items() if not path.exists() or path.stat().st_mtime_ns != moment]
    return len(found), differ, again


def side_by_side(folder: Path, calm: Clone, name: str) -> int:
    """Run two clones at once on one cache; give how many tables are missing or differ."""
    both = [Clone(folder / side, calm.study, name, folder / "shared-cache") for side in ("left", "right")]
    if {running.wait() for running in [clone.start() for clone in both]} != {0}:
        sys.exit(f"a report failed: see the logs in {folder}")
    wrong = 0
    for clone in both:
        there, differ, _ = compare(clone, calm, {}, done=True)
        wrong += len(differ)
        print(f"{clone.root.name}: {there} tables; differ: {differ or 'none'}")
    return wrong


def main() -> int:
    """Do the whole experiment; a line a kill."""
    parser = argparse.ArgumentParser()
    parser.add_argument("study", nargs="?", default="studies/demo.yaml")
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="where the clones go; a new temporary folder by default")
    parser.add_argument("--calm", type=Path, help="a clone in which the study has run undisturbed, of the same commit")
    parser.add_argument("--seconds", type=float, help="how long it took there")
    parser.add_argument("--beside", action="store_true", help="two at once instead of kills")
    given = parser.parse_args()
    folder, name = given.folder or Path(tempfile.mkdtemp()), Path(given.study).stem
    calm = Clone((given.calm or folder / "calm").absolute(), given.study, name)
    whole = given.seconds or calm.finish()
    print(f"undisturbed: {whole:.0f} s, {len(calm.tables())} tables", flush=True)
    if given.beside:
        return int(side_by_side(folder.absolute(), calm, name) > 0)
    killed, moments = Clone((folder / "killed").absolute(), given.study, name), random.Random(given.seed)
    before: dict[Path, int] = {}
    wrong = 0
    for turn in range(1, given.kills + 1):
        moment = moments.uniform(0, 2 * whole / given.kills)
        if killed.kill_after(moment):
            print(f"the study was done before its kill {turn}: with fewer --seconds the kills come sooner")
            break
        there, differ, again = compare(killed, calm, before)
        before = killed.finished()
        wrong += len(differ) + len(again)
        print(
            f"kill {turn} after {moment:.0f} s: {there} tables, {len(before)} things finished; "
            f"differ: {', '.join(differ) or 'none'}; made again: {', '.join(again) or 'none'}",
            flush=True,
        )
    seconds = killed.finish()
    there, differ, again = compare(killed, calm, before, done=True)
    print(f"end after {seconds:.0f} s: {there} tables; differ: {differ or 'none'}; made again: {again or 'none'}")
    return int(wrong + len(differ) + len(again) > 0)


if __name__ == "__main__":
    sys.exit(main())
