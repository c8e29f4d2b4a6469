"""What a cluster says of a job that failed becomes one line: which, how it ended, its last words, where they stand."""

import os

import pytest

from bert_repro.workflow import report

BLOCK = """[Fri Nov 27 05:26:03 2026]
Error in rule {name}:
    message: SLURM-job '13' failed, SLURM status is: '{status}'. Detailed failure reason unavailable (status command is not 'sacct').
    jobid: 5
    input: notebooks/similarity.ipynb
    output: build/demo/runs/similarity-base-nli-1.ipynb
    log: {log} (check log file(s) for error details)
    shell:
        python -m bert_repro run similarity
    external_jobid: 13
"""


@pytest.mark.parametrize(
    ("status", "said", "expected"),
    [
        ("FAILED", "similarity: 18%\nbert_repro: cell 3: ValueError: no\nsrun: error: vm: task 0: Exited\n", "cell 3: ValueError: no"),
        ("CANCELLED", "slurmstepd-vm: error: *** JOB 15 ON vm CANCELLED AT noon ***\n", "*** JOB 15 ON vm CANCELLED AT noon ***"),
        ("OUT_OF_MEMORY", "slurmstepd: error: Detected 1 oom_kill event\n", "Detected 1 oom_kill event"),
        ("NODE_FAIL", "\n", ""),
        ("TIMEOUT", None, ""),
    ],
)  # fmt: skip
def test_a_failed_job_is_one_line(tmp_path, status, said, expected):
    own = tmp_path / "own" / "13.log"
    own.parent.mkdir()
    if said is not None:
        own.write_text(said)
    (tmp_path / "now.log").write_text("Select jobs\n" + BLOCK.format(name="states_base", status=status, log=own))
    told = f", {expected}" if expected else ""
    assert report.failures(tmp_path) == [f"states_base: {status}{told}; see {own}"]


def test_every_job_of_the_last_report_is_told_once_and_a_cluster_without_words_leaves_its_name(tmp_path):
    (tmp_path / "old.log").write_text(BLOCK.format(name="earlier", status="FAILED", log="x"))
    os.utime(tmp_path / "old.log", (0, 0))
    blocks = [BLOCK.format(name=name, status="FAILED", log="x") for name in ("one", "two", "one")]
    (tmp_path / "now.log").write_text("".join(blocks) + "Error in rule three:\n    jobid: 7\n")
    assert report.failures(tmp_path) == ["one: FAILED; see x", "two: FAILED; see x", "three: failed"]


def test_where_nothing_was_logged_there_is_no_line(tmp_path):
    assert report.failures(tmp_path) == report.failures(tmp_path / "none") == []
