"""References to corpora: the one parser of `name:split[n]` and `text~layout`.

A reference in another form is an error; whether the corpus exists is not checked here. The path of an existing file is
always that file's, whatever characters it contains; so is that of a folder.
"""

import dataclasses
import os
import re
from dataclasses import dataclass

_FORM = re.compile(r"(?P<name>[^:\[\]]+)(:(?P<split>\w+))?(\[(?P<drawn>-?\d+)\])?")


@dataclass(frozen=True)
class Reference:
    """A corpus as a user names it: `ewt:dev[60]`, `wiki[-500]`, `mnli:train`, `my/file.conllu` or `wiki~mnli:dev[60]`.

    Attributes:
        name: A registered name, or the path of a file or folder.
        split: None where none is given.
        drawn: How many items to draw; below 0, how many to leave out; None for all of them.
        layout: The corpus in whose layout the text of this one is read, see `corpora.layout`; None for its own.
    """

    name: str
    split: str | None = None
    drawn: int | None = None
    layout: "Reference | None" = None

    @classmethod
    def parse(cls, text: str) -> "Reference":
        """Parse a reference.

        Raises:
            ValueError: It is not written as one.
        """
        parsed = [_of_file(part) or _written(part) for part in parts(text)]
        if not all(parsed) or len(parsed) > 2:
            raise ValueError(
                f"cannot read the corpus reference {text!r}: write name, name:split, name:split[500] or name:split[-500], "
                "or two of them with a ~ between, the text and whose layout it takes, as in wiki~mnli:dev[60]"
            )
        own, *layout = (cls(*fields) for fields in parsed if fields)
        return dataclasses.replace(own, layout=layout[0]) if layout else own

    @property
    def whole(self) -> "Reference":
        """The same without the draw."""
        return dataclasses.replace(self, drawn=None)

    @property
    def text(self) -> "Reference":
        """The same in its own layout."""
        return dataclasses.replace(self, layout=None)

    def __str__(self) -> str:
        split = f":{self.split}" if self.split is not None else ""
        own = drawn_split(self.name + split, self.drawn)
        return own if self.layout is None else f"{own}~{self.layout}"


def drawn_split(split: str, drawn: int | None) -> str:
    """Name a split together with its draw, as the tables do: `dev[600]`; the split itself where nothing is drawn."""
    return split if drawn is None else f"{split}[{drawn}]"


def parts(text: str) -> list[str]:
    """Split a reference, or the name of a corpus, at its ~ into the text and, if given, the corpus whose layout it takes."""
    pieces = text.split("~")
    for count in range(len(pieces), 0, -1):  # of a path that has some itself
        own, layout = "~".join(pieces[:count]), "~".join(pieces[count:])
        if _of_file(own) or _of_file(layout):
            return [own, layout] if layout else [own]
    return pieces


def named(text: str) -> str:
    """Give the name of a part of a reference, "ewt" of "ewt:dev[60]", however the rest is written; a file's is its path."""
    file = _of_file(text)
    return file[0] if file else text.partition("[")[0].partition(":")[0]


def _written(part: str) -> tuple[str, str | None, int | None] | None:
    match = _FORM.fullmatch(part)
    return (match["name"], match["split"], int(match["drawn"]) if match["drawn"] else None) if match else None


def _of_file(part: str) -> tuple[str, None, int | None] | None:
    """Take the path of a file or folder that is there from its draw."""
    path, drawn = part, None
    # not Path.exists, to which a sentence is a name that is too long
    if not os.path.exists(path) and (match := re.fullmatch(r"(.+)\[(-?\d+)\]", part, re.DOTALL)):
        path, drawn = match[1], int(match[2])
    return (path, None, drawn) if path and os.path.exists(path) else None
