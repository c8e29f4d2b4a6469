"""A figure becomes a picture in a browser, or says why not."""

import shutil

import plotly.graph_objects as go
import pytest

from bert_repro import picture


@pytest.fixture
def figure():
    return go.Figure(go.Scatter(x=[0, 1], y=[1, 2]))


@pytest.mark.slow
@pytest.mark.parametrize(("name", "start"), [("a.svg", b"<svg"), ("b.png", b"\x89PNG")])
def test_a_picture_is_saved_by_a_browser(figure, tmp_path, name, start):
    if not shutil.which("chromium"):
        pytest.skip("Debian's chromium is not installed")
    picture.save(figure, tmp_path / name)
    assert (tmp_path / name).read_bytes().startswith(start)


def test_a_picture_needs_a_browser_and_a_known_ending(figure, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match=r"\.svg or \.png"):
        picture.save(figure, tmp_path / "figure.gif")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="apt-get install chromium"):
        picture.save(figure, tmp_path / "figure.svg")


def test_a_browser_that_fails_is_quoted(figure, tmp_path, monkeypatch):
    browser = tmp_path / "chromium"
    browser.write_text("#!/bin/sh\necho no display >&2\nexit 3\n")
    browser.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RuntimeError, match=r"\(exit 3\): no display"):
        picture.save(figure, tmp_path / "figure.svg")
    assert not (tmp_path / "figure.svg").exists()
