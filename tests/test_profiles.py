"""What a cluster is told: profiles are Snakemake's, every job says what it asks for, the one-node cluster is a sound script."""

import functools
import json
import os
import subprocess
import sys

import pytest
import yaml

from bert_repro.files import ROOT

PROFILES = sorted((ROOT / "profiles").glob("*/config.yaml"))
SCRIPTS = sorted(path for path in (ROOT / "profiles").rglob("*") if path.is_file() and not path.suffix)


@pytest.mark.parametrize("path", PROFILES, ids=lambda path: path.parent.name)
def test_a_profile_names_its_executor_and_leaves_the_rest_to_the_report(path):
    profile = yaml.safe_load(path.read_text())
    assert profile["executor"] and profile["jobs"] >= 1 and profile["latency-wait"] >= 30
    # what report says itself, and what would take the place of its settings
    assert not {"config", "cores", "configfile", "snakefile", "keep-going", "nolock", "rerun-incomplete"} & set(profile)


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: "/".join(path.parts[-2:]))
def test_a_script_can_be_read_and_says_how_it_is_used(path):
    assert os.access(path, os.X_OK)
    assert subprocess.run(["bash", "-n", path], capture_output=True, text=True).stderr == ""
    done = subprocess.run([path], capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.startswith(f"usage: {path.name} ")


RULES = """
import json, sys
from pathlib import Path
from snakemake.api import SnakemakeApi
from snakemake.settings.types import ConfigSettings, ResourceSettings

config = ConfigSettings(config=json.loads(sys.argv[1]))
with SnakemakeApi() as api:
    workflow = api.workflow(ResourceSettings(cores=1), config, snakefile=Path("Snakefile"))._workflow
    print(json.dumps({rule.name: sorted(rule.resources) for rule in workflow.rules}))
"""


@functools.cache
def rules(**config) -> dict[str, list[str]]:
    """Name the rules of the study train, and what each asks for."""
    given = json.dumps({"study": "studies/train.yaml", "base": "tiny", **config})
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", RULES, given], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.slow
@pytest.mark.parametrize("gpu", [0, 1])
def test_every_job_says_what_it_asks_for_and_a_gpu_is_for_what_computes_in_the_encoder(gpu):
    found = rules(gpu=gpu)
    assert {"finetune_nli_1", "states_base", "structural_probe_base", "chapter_index", "book"} <= set(found)
    assert all({"mem_mb", "runtime"} <= set(resources) for name, resources in found.items() if name != "all")
    asking = {name for name, resources in found.items() if "gpu" in resources}
    assert asking == {name for name in found if gpu and name.startswith(("finetune_", "states_"))}


@pytest.mark.slow
def test_the_parts_of_a_reading_out_are_jobs_that_ask_as_it_does():
    found, whole = rules(gpu=1, parts=3), rules(gpu=1)
    parts = {name: resources for name, resources in found.items() if name not in whole}
    states = [name for name in whole if name.startswith("states_")]
    assert set(parts) == {"read_out"} | {f"{name}_{part}_of_3" for name in states for part in (1, 2, 3)}
    assert all(whole[name] == parts[f"{name}_{part}_of_3"] for name in states for part in (1, 2, 3))
