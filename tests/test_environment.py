"""The three ways to install say the same: uv.lock, requirements.txt (exported from it) and environment.yml (which reads that)."""

import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent
UV = shutil.which("uv") or str(ROOT / ".tools" / "bin" / "uv")


def uv(*arguments):
    if not Path(UV).is_file():
        pytest.fail("no uv: `make test` brings its own into .tools/")
    return subprocess.run([UV, *arguments], cwd=ROOT, capture_output=True, text=True)


def test_the_lock_is_that_of_pyproject():
    done = uv("lock", "--check")
    if "ailed to fetch" in done.stderr:
        pytest.skip("the package index, which checking a lock asks, cannot be reached")
    assert done.returncode == 0, done.stderr


def test_requirements_are_exported_from_the_lock():
    options = ["--frozen", "--extra", "cpu", "--no-hashes", "--no-emit-project", "--no-annotate", "--no-header", "-q"]
    exported = uv("export", *options).stdout
    stored = (ROOT / "requirements.txt").read_text()
    assert exported and re.sub(r"^#.*\n", "", stored, flags=re.MULTILINE) == exported, (
        "uv export --frozen --extra cpu --no-hashes --no-emit-project --no-annotate -o requirements.txt"
    )


def test_conda_users_get_the_same():
    dependencies = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    python = next(d for d in dependencies if str(d).startswith("python="))
    assert (
        python.removeprefix("python=")
        in tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"]
    )
    assert dependencies[-1] == {"pip": ["-r requirements.txt", "-e ."]}


def test_no_file_names_a_registry_or_a_path_of_some_machine():
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True).stdout.split("\n")[:-1]
    texts = {name: (ROOT / name).read_bytes() for name in listed if name != "uv.lock" and (ROOT / name).is_file()}
    # put together here, so that this file does not name them itself
    hosts = [
        b".".join(name)
        for name in ((b"pypi", b"org"), (b"pythonhosted", b"org"), (b"npmjs", b"org"), (b"deb", b"debian"))
    ]
    forbidden = [*hosts, b"/".join((b"", b"work", b"main")), b"/".join((b"", b"root", b""))]
    assert texts and [name for name, text in texts.items() if any(word in text for word in forbidden)] == []


def test_author_and_version_agree():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert project["authors"] == [{"name": "The bert_repro authors"}] and citation["authors"] == project["authors"]
    assert str(citation["version"]) == project["version"]
    assert f'__version__ = "{project["version"]}"' in (ROOT / "bert_repro" / "__init__.py").read_text()
