"""The glossary: every term has a definition, stands where the alphabet has it, and is what pages link to."""

import json
import re

import pytest

from bert_repro.files import ROOT

_TEXT = (ROOT / "book" / "glossary.md").read_text(encoding="utf-8")
BODY = re.search(r"```\{glossary\}\n(.*)```", _TEXT, re.DOTALL)[1]
ENTRIES = [re.match(r"((?:\S.*\n)+)((?:  .*\n?)+)", f"{entry}\n") for entry in BODY.strip().split("\n\n")]
TERMS = [term for entry in ENTRIES if entry for term in entry[1].splitlines()]
PAGES = sorted([*(ROOT / "book").glob("*.md"), *(ROOT / "notebooks" / "chapters").glob("*.ipynb")])


def test_every_entry_is_terms_and_an_indented_definition():
    # Sphinx takes each line that is not indented for one more term, and so would swallow a definition
    assert all(ENTRIES) and len(ENTRIES) > 50
    assert all(re.search(r"[.\])]$", entry[2].strip()) for entry in ENTRIES)
    assert not [term for term in TERMS if term.startswith(":")]


def test_terms_are_in_alphabetical_order_and_once():
    firsts = [entry[1].splitlines()[0].lower() for entry in ENTRIES]
    assert firsts == sorted(firsts) and len({term.lower() for term in TERMS}) == len(TERMS)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_pages_link_to_terms_that_are_there(path):
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".ipynb":
        text = "\n".join("".join(c["source"]) for c in json.loads(text)["cells"] if c["cell_type"] == "markdown")
    linked = re.findall(r"\{term\}`(?:[^`<]*<)?([^`>]+)>?`", text)
    assert {term.lower() for term in linked} <= {term.lower() for term in TERMS}
