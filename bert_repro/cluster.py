"""A cluster: hides how Snakemake and a scheduler tell the end of a job; gives one line for each job that failed.

It refuses nothing: where their words are not understood, there is no line, and what they said stands in their own logs.
"""

import re
from pathlib import Path


def failures(folder: Path) -> list[str]:
    """Say in a line for every failed job which one it was, how the scheduler saw it end, and what its notebook said last.

    Args:
        folder: Where Snakemake keeps its logs: the newest one is read.
    """
    lines: dict[str, str] = {}
    log = max(folder.glob("*.log"), key=lambda path: path.stat().st_mtime, default=None)
    if log is None:
        return []
    for block in log.read_text(encoding="utf-8", errors="replace").split("\nError in rule ")[1:]:
        name, _, rest = block.partition(":")
        ended = re.search(r"message: (.+?, SLURM status is: '(\w+)')?", rest)
        status = (ended and ended[2]) or "failed"
        own = re.search(r"^    log: (\S+)", rest, re.MULTILINE)
        said = []
        if own and Path(own[1]).is_file():
            text = Path(own[1]).read_text(encoding="utf-8", errors="replace")
            said = re.findall(r"bert_repro: (.*)|error: (.*(?:CANCELLED|memory|oom).*)", text)
        last = "".join(said[-1]).strip() if said else ""
        lines.setdefault(name, f"{name}: {status}" + (f", {last}" if last else "") + (f"; see {own[1]}" if own else ""))
    return list(lines.values())
