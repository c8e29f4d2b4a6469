"""Lines of text files, whatever their compression, byte order mark and line ends.

Text that is not UTF-8, and lines too long to be text, are errors.
"""

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path

_LONGEST = 64 * 10**6  # bytes of a line: SQuAD is one line of 30 MB; what is longer is no text
_MARK = b"\xef\xbb\xbf"  # the byte order mark, which says that UTF-8 follows and is no part of the text


def lines(path: Path) -> Iterator[tuple[int, str]]:
    """Read a file, which may be .gz, line by line.

    Returns:
        Number, from 1, and line without its end.

    Raises:
        ValueError: A line of more than 64 MB, or what is no UTF-8 text, while reading.
    """
    number = 1
    try:
        with gzip.open(path) if path.suffix == ".gz" else open(path, "rb") as stream:
            while line := stream.readline(_LONGEST + 1):
                if len(line) > _LONGEST:
                    raise ValueError(f"{path}:{number}: a line has at most {_LONGEST // 10**6} MB, this one is longer")
                text = (line.removeprefix(_MARK) if number == 1 else line).decode("utf-8")
                yield number, text.rstrip("\r\n")
                number += 1
    except (UnicodeDecodeError, gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise ValueError(f"{path}:{number}: cannot be read as UTF-8 text from here: {error}") from None
