"""Shared by all tests: annotated NumPy borders are checked, and nothing reads or fills the user's cache."""

import os
import shutil
from pathlib import Path

import pytest
from beartype import BeartypeConf, beartype
from hypothesis import HealthCheck, settings
from jaxtyping import install_import_hook

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["TQDM_DISABLE"] = "1"
QUIET = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip
USERS_CACHE = os.environ.get("BERT_REPRO_CACHE")

# a busy machine is no fault of an example
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")

# every array border is checked; Keras reads the signatures of layers, which this would hide, and finetune only handles models
_PACKAGE = Path(__file__).resolve().parent.parent / "bert_repro"
_BORDERS = {
    path.relative_to(_PACKAGE).parts[0].removesuffix(".py")
    for path in _PACKAGE.rglob("*.py")
    if "jaxtyping" in path.read_text()
}
checked = beartype(conf=BeartypeConf(is_pep484_tower=True))  # an int will do for a float
install_import_hook(
    [*(f"bert_repro.{name}" for name in _BORDERS - {"encoder", "finetune"}), "bert_repro.finetune.heads.trees"],
    "conftest.checked",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that make whole reports, each for a minute or two: begun last, they would leave a worker idle."""
    long = ("test_report_checkpoints", "test_report", "test_sittings", "test_book")
    items.sort(key=lambda item: long.index(item.path.stem) if item.path.stem in long else len(long))


@pytest.fixture
def in_this_process(monkeypatch: pytest.MonkeyPatch):
    """Compute hidden states here: a process of its own, which other tests start, takes four seconds."""
    from bert_repro import states
    from bert_repro.states import compute

    monkeypatch.setattr(states, "_compute_apart", compute.compute_all)


@pytest.fixture
def executed(in_this_process: None):
    """Run a notebook's code in this process, where it can be changed.

    Papermill runs every notebook with its defaults in `make smoke`, and with settings in reports.
    """
    import nbformat

    from bert_repro.files import ROOT

    def run(notebook: str, **given: object) -> None:
        names: dict[str, object] = {}
        for cell in nbformat.read(ROOT / "notebooks" / f"{notebook}.ipynb", 4).cells:
            if cell.cell_type == "code":
                exec(cell.source, names)
                if "parameters" in cell.metadata.get("tags", []):
                    names |= given

    return run


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory):
    """Keep weights and states of the tests in a folder of their own."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BERT_REPRO_CACHE", str(folder))
        yield folder


@pytest.fixture
def users_cache(monkeypatch: pytest.MonkeyPatch):
    """Give the ordinary cache back to a test that needs MiniLM's weights."""
    if USERS_CACHE is None:
        monkeypatch.delenv("BERT_REPRO_CACHE")
    else:
        monkeypatch.setenv("BERT_REPRO_CACHE", USERS_CACHE)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Give the folder of corpora that do not come with the clone, or skip; where CI has it and it cannot be used, that is a failure."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("BERT_REPRO_DATA") or beside)
    if not folder.is_dir():
        if os.environ.get("CI") == "true" and beside.is_dir():
            pytest.fail(f"BERT_REPRO_DATA={folder} is no folder, although {beside} is")
        pytest.skip(f"GUM and others are not here: BERT_REPRO_DATA is not set and {beside} does not exist")
    return folder


@pytest.fixture(scope="session")
def browser():
    """Give a headless browser, or skip; in CI there must be one."""
    chromium = shutil.which("chromium")
    if not chromium:
        if os.environ.get("CI") == "true":
            pytest.fail("chromium is not installed: apt-get install chromium")
        pytest.skip("Debian's chromium is not installed")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        window = driver.chromium.launch(executable_path=chromium, args=list(QUIET))
        yield window
        window.close()
