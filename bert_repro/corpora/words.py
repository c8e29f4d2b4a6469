"""Words and sentences of running text in any script, by Unicode's rules (UAX #29) as ICU applies them.

Pure ASCII is split without the library, which is faster; tests check that the words are the same.
"""

import functools
import re
import sys
from collections.abc import Iterable, Iterator
from unicodedata import category

from icu4py.breakers import SentenceBreaker, WordBreaker

_LOCALE = "und"  # rules for no language in particular; dictionaries go by script
_WORD = re.compile(r"\w+|[^\w\s\x00-\x1f\x7f]")
# others than » are taken for either end
_END = re.compile(r"(?<=[.!?])(?P<closed>[»›]?)\s+(?=(?:[\"'(„¿¡]|«\s?)?[^\W\d_])")
_OPENING, _CLOSING = ("Ps", "Pi"), ("Pe", "Pf", "Pi")


def words(text: str) -> tuple[str, ...]:
    """Split running text into words and single punctuation marks.

    Words are those of Unicode, of scripts without spaces as ICU's dictionaries have them; letters keep their combining marks.
    As in treebanks and in BERT's tokenizers, punctuation inside is a word of its own: `don't` and `3.5` are three.

    Args:
        text: Any text.

    Returns:
        Words, none with a space in it; invisible characters around words are left out.

    Reference:
        Unicode Standard Annex #29, section 4.
    """
    matches = _WORD.findall(text) if text.isascii() else (text[a:b] for a, b in _by_unicode(text))
    return tuple(map(sys.intern, matches))  # a word that comes again takes no memory of its own


def there_are(text: str) -> bool:
    """Return whether a text has words, not only spaces and invisible characters."""
    return re.search(r"\w", text) is not None or any(words(text))


@functools.lru_cache(1)  # questions about one context come one after the other, and share its words
def located(text: str) -> tuple[tuple[str, ...], tuple[tuple[int, int], ...]]:
    """Give the words of a text, and of each its first character and the one behind its last."""
    places = tuple(match.span() for match in _WORD.finditer(text)) if text.isascii() else tuple(_by_unicode(text))
    return tuple(sys.intern(text[start:end]) for start, end in places), places


def _by_unicode(text: str) -> Iterator[tuple[int, int]]:
    begun = behind = 0  # of a word that may go on
    for start, end in _parts(WordBreaker(text, _LOCALE)):
        plain = text[start:end].isalnum()
        if begun < behind:
            if plain and behind == start and "No" in (category(text[start - 1]), category(text[start])):
                behind = end  # km², 6½, H₂O: Unicode cuts there, tokenizers do not
                continue
            yield begun, behind
        begun, behind = (start, end) if plain else (end, end)
        if not plain and text[start:end] != " ":
            yield from _cut(text, start, end)
    if begun < behind:
        yield begun, behind


def _parts(breaker: Iterable[str]) -> Iterator[tuple[int, int]]:
    """Give the places of what a text is broken into; the library's own count as UTF-16 does."""
    end = 0
    for part in breaker:
        yield end, (end := end + len(part))


def _cut(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Cut what Unicode does not at spaces and, where there are letters, at punctuation."""
    lettered = any(map(str.isalnum, text[start:end]))
    at = begun = start
    while at < end:
        behind = at + 1
        if (lettered and text[at] != "_" and category(text[at])[0] in "PS") or _lost(text, at):
            while behind < end and category(text[behind])[0] in "MC" and not _lost(text, behind):
                behind += 1
            yield from _visible(text, begun, at)
            yield from _visible(text, at, behind)
            begun = behind
        elif text[at].isspace():
            yield from _visible(text, begun, at)
            begun = behind
        at = behind
    yield from _visible(text, begun, end)


def _lost(text: str, at: int) -> bool:
    """Tell a control character of Latin-1, or a soft hyphen that parts no letters: what is left of a letter in MNLI, where each is a word."""
    parts = text[at - 1 : at].isalnum() and text[at + 1 : at + 2].isalnum()
    return "\x80" <= text[at] <= "\xad" and category(text[at]) in ("Cc", "Cf") and not parts and not text[at].isspace()


def _visible(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Give a place without what cannot be seen at its ends: control characters, marks of direction."""

    def hidden(at: int) -> bool:
        return category(text[at]) in ("Cc", "Cf") and not _lost(text, at)

    while start < end and hidden(start):
        start += 1
    while start < end and hidden(end - 1):
        end -= 1
    if start < end:
        yield start, end


def sentences(text: str) -> list[str]:
    """Split a paragraph into sentences.

    One ends at `.`, `!` or `?` before a space and a letter that is not small, perhaps with a quotation mark or a bracket between;
    and where Unicode has it at other marks, such as a danda or the full stop of Chinese, and what closes behind them.

    Args:
        text: A paragraph.

    Returns:
        The sentences, without the spaces between them.

    Reference:
        Unicode Standard Annex #29, section 5. It also ends sentences between `."` and a capital, and between `?` and a small letter
        (`"Why?" he said`); here neither, as in all that was published.
    """
    ends = {
        match.end("closed"): match.end()
        for match in _END.finditer(text)
        if not _small(text[match.end() : match.end() + 3])
    }
    if not text.isascii():
        ends |= _unicode_ends(text)
    cuts = [(0, 0), *sorted(ends.items()), (len(text), len(text))]
    return [text[begin:end] for (_, begin), (end, _) in zip(cuts, cuts[1:], strict=False)]


def _unicode_ends(text: str) -> dict[int, int]:
    """Give where sentences end at marks that are not ASCII, and where the next ones begin."""
    ends = {}
    for _, end in _parts(SentenceBreaker(text, _LOCALE)):
        while end and category(text[end - 1]) in _OPENING:  # an opening bracket belongs to what follows
            end -= 1
        begin = end
        while end and text[end - 1].isspace():
            end -= 1
        mark = end - 1
        while mark > 0 and category(text[mark]) in _CLOSING:
            mark -= 1
        if mark < 0 or begin == len(text) or category(text[mark]) != "Po" or _small(text[begin : begin + 2]):
            continue
        # without a space, ASCII marks end sentences of scripts without capitals alone
        if not text[mark].isascii() or (begin == end and text[begin].isalpha() and not _cased(text[begin])):
            ends[end] = begin
    return ends


def _small(text: str) -> bool:
    """Return whether the first letter of a text is lower case; Georgian has no case in this sense."""
    letter = next(filter(str.isalpha, text), "")
    return letter != letter.title()


def _cased(letter: str) -> bool:
    return letter.lower() != letter.upper()
