"""References to corpora: hides how `name:split[n]` is written; nothing else takes one apart.

It refuses what is not written so; whether there is such a corpus it does not know.
"""

import dataclasses
import re
from dataclasses import dataclass

_FORM = re.compile(r"(?P<name>[^:\[\]]+)(:(?P<split>\w+))?(\[(?P<drawn>-?\d+)\])?")


@dataclass(frozen=True)
class Reference:
    """A corpus as a user names it: `ewt:dev[60]`, `wiki[-500]`, `mnli:train` or `my/file.conllu`.

    Attributes:
        name: A registered name, or the path of a file.
        split: None where none is given.
        drawn: How many items to draw; below 0, how many to leave out; None for all of them.
    """

    name: str
    split: str | None = None
    drawn: int | None = None

    @classmethod
    def parse(cls, text: str) -> "Reference":
        """Take a reference apart.

        Raises:
            ValueError: It is not written as one.
        """
        match = _FORM.fullmatch(text)
        if not match:
            raise ValueError(
                f"cannot read the corpus reference {text!r}: write name, name:split, name:split[500] or name:split[-500]"
            )
        return cls(match["name"], match["split"], int(match["drawn"]) if match["drawn"] else None)

    @property
    def whole(self) -> "Reference":
        """The same without the draw."""
        return dataclasses.replace(self, drawn=None)

    def __str__(self) -> str:
        split = f":{self.split}" if self.split is not None else ""
        return drawn_split(self.name + split, self.drawn)


def drawn_split(split: str, drawn: int | None) -> str:
    """Name a split together with its draw, as the tables do: `dev[600]`; the split itself where nothing is drawn."""
    return split if drawn is None else f"{split}[{drawn}]"


def named(text: str) -> str:
    """Give the name that a reference begins with, "ewt" of "ewt:dev[60]", however the rest is written; a file's is its path."""
    return text.partition("[")[0].partition(":")[0]
