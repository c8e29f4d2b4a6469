"""Tidy results: their schema, the files that a table consists of, and how rows are selected and subtracted.

Rows outside the schema are an error; a result that has no number in it belongs to the artefacts, not to the table.

A table is four files side by side: `X.parquet` for machines, `X.csv` for people, `X.replicates.parquet` with bootstrap
replicates by row number (draws seeded by the corpus, so that any two rows can be paired; `pandas.read_parquet` reads them), and `X.manifest.json`, which says what made
it. Where a run also made something that is no number (trees, learning curves), `X.artefacts.parquet` holds that.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from pyarrow import parquet

from bert_repro.files import ROOT as ROOT
from bert_repro.files import atomically
from bert_repro.results import intervals, provenance

_TEXT, _INT, _FLOAT = "string", "Int64", "Float64"

COLUMNS = {
    "study": _TEXT, "notebook": _TEXT, "role": _TEXT, "model": _TEXT, "base": _TEXT, "task": _TEXT, "seed": _INT,
    "updates": _INT, "layers_changed": _TEXT, "reference_model": _TEXT, "layer": _INT, "reference_layer": _INT,
    "corpus": _TEXT, "split": _TEXT, "rows": _TEXT, "target": _TEXT, "probe": _TEXT, "probe_seed": _INT,
    "method": _TEXT, "metric": _TEXT, "value": _FLOAT, "ci_low": _FLOAT, "ci_high": _FLOAT, "n": _INT,
    "units": _INT,
}  # fmt: skip
"""Columns of every table and their pandas types; a column that does not apply to a row is empty (NA)."""
SCHEMA = 2
"""What a manifest says of its table beside the columns; in tables before that, `split` did not name the draw."""
NUMBERS = ("value", "ci_low", "ci_high", "n", "units")
"""Columns that say what came out and from how much; all others say what was measured."""
ROLES = ("score", "control", "baseline", "floor")
ARTEFACTS = dict.fromkeys(("study", "notebook", "model", "kind", "key", "layer", "content"), _TEXT) | {"layer": _INT}
"""Columns of what is no number; `content` is JSON."""


def tidy(rows: Iterable[Mapping[str, object]], **constants: object) -> pd.DataFrame:
    """Make a table from rows, with the same constants in each.

    Args:
        rows: Mappings of column names to values; `replicates` may hold an array of bootstrap replicates.
        constants: Columns that are equal in all rows.

    Returns:
        A frame with every column of `COLUMNS`, in that order and type, and `replicates`.

    Raises:
        ValueError: No rows, an unknown column, an unknown role, or a value that is missing or not finite.
    """
    table = pd.DataFrame([{**constants, **row} for row in rows])
    if table.empty:
        raise ValueError("a table needs at least one row: nothing was measured")
    unknown = sorted(set(table.columns) - set(COLUMNS) - {"replicates"})
    if unknown:
        raise ValueError(f"unknown table columns {unknown}: the schema has {list(COLUMNS)}")
    table = table.reindex(columns=[*COLUMNS, "replicates"]).astype(COLUMNS)
    strange = sorted(set(table["role"].dropna()) - set(ROLES))
    if strange:
        raise ValueError(f"unknown roles {strange}: expected one of {list(ROLES)}")
    bad = ~np.isfinite(table["value"].to_numpy(dtype=float, na_value=np.nan))
    if bad.any():
        raise ValueError(
            f"{int(bad.sum())} of {len(table)} values are missing or not finite, the first in\n{table[bad].iloc[0]}"
        )
    return table


def artefacts(rows: Iterable[Mapping[str, object]], **constants: object) -> pd.DataFrame:
    """Make a frame of things that are no numbers; `content` may be any JSON value.

    Raises:
        ValueError: An unknown column.
    """
    frame = pd.DataFrame([{**constants, **row} for row in rows])
    unknown = sorted(set(frame.columns) - set(ARTEFACTS))
    if unknown:
        raise ValueError(f"unknown artefact columns {unknown}: the schema has {list(ARTEFACTS)}")
    frame["content"] = [json.dumps(content) for content in frame["content"]]
    return frame.reindex(columns=list(ARTEFACTS)).astype(ARTEFACTS)


def write(
    path: Path | str, table: pd.DataFrame, manifest: Mapping[str, object], extra: pd.DataFrame | None = None
) -> None:
    """Write a table and its companion files; the table itself appears last and only when complete.

    Of a row's replicates, the first `intervals.KEPT` are written.

    Args:
        path: The table's.
        table: Rows made by `tidy`.
        manifest: What made it.
        extra: Artefacts, if any.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    numbers = table.drop(columns="replicates").reset_index(drop=True)
    kept = table["replicates"].reset_index(drop=True).dropna()
    replicates = pd.DataFrame(
        {
            "row": kept.index,
            "replicates": [_rounded(of_row[: intervals.KEPT]) for of_row in kept],
            "jackknife": [isinstance(of_row, intervals.Jackknifed) for of_row in kept],
        }
    )
    atomically(
        path.with_suffix(".manifest.json"),
        lambda p: p.write_text(json.dumps(dict(manifest) | {"schema": SCHEMA}, indent=1, sort_keys=True) + "\n"),
    )
    atomically(path.with_suffix(".csv"), lambda p: numbers.to_csv(p, index=False, float_format="%.7g"))
    # byte by byte: the lowest bytes of rounded numbers are all 0, the highest nearly all alike, and both cost next to nothing
    _store(path.with_suffix(".replicates.parquet"), replicates, use_byte_stream_split=["replicates.list.element"])
    if extra is not None:
        _store(path.with_suffix(".artefacts.parquet"), extra)
    _store(path, numbers.dropna(axis="columns", how="all"), use_dictionary=True)


def _store(path: Path, frame: pd.DataFrame, **keys: Any) -> None:
    # a study has some hundred small files: half of each would be descriptions of its columns
    arrow = pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata()
    # (and brotli finds a fifth more in replicates than zstd at its best)
    keys = {"compression": "brotli", "compression_level": 11, "use_dictionary": False, "write_statistics": False} | keys
    atomically(path, lambda p: parquet.write_table(arrow, p, write_page_checksum=True, **keys))


def _read(path: Path) -> pa.Table:
    """Read what `_store` wrote, verifying its checksums."""
    try:
        return parquet.ParquetFile(path, page_checksum_verification=True).read(use_threads=False)
    except (OSError, ValueError) as error:
        if getattr(error, "errno", None):  # it could not be read at all, and the message says why
            raise
        table = path.with_name(f"{path.name.partition('.')[0]}.parquet")
        raise OSError(
            f"{path} is damaged: `git checkout` restores a published table; remove {table}, and `make report` makes one of "
            f"yours again ({error})"
        ) from None


def _joined(parts: Sequence[pa.Table]) -> pd.DataFrame:
    # at once: pandas takes longer to convert the columns of a hundred small tables than it takes to read them
    return pa.concat_tables(parts, promote_options="permissive").to_pandas()


def _rounded(replicates: np.ndarray) -> np.ndarray:
    """Round replicates to a sixteenth of their spread or finer: digits below that are noise, and most of a file.

    Returns:
        32-bit floats, multiples of a power of two.
    """
    exact = np.asarray(replicates, float)
    defined = exact[np.isfinite(exact)]
    least, spread = (defined.min(), defined.std()) if len(defined) else (0.0, 0.0)
    unit = float(2.0 ** np.floor(np.log2(spread / 16))) if spread else abs(float(least)) or 1.0
    return (np.round(exact / unit) * unit).astype(np.float32)


def read(*paths: Path | str) -> pd.DataFrame:
    """Read tables with their replicates, as one.

    Raises:
        FileNotFoundError: No table there; the message says how tables are made.
        OSError: A file of it is damaged.
        ValueError: An earlier version wrote it.
    """
    parts, replicates = [], []
    for path in map(Path, paths):
        if not path.is_file():
            raise FileNotFoundError(f"no table at {path}: `make report` makes the tables of a study")
        manifest = path.with_suffix(".manifest.json")
        if manifest.is_file() and json.loads(manifest.read_text(encoding="utf-8")).get("schema") != SCHEMA:
            raise ValueError(
                f"{path} was written by a former version, which named splits without what was drawn from them: "
                "remove the folder, and `make report` makes its tables again"
            )
        parts.append(_read(path))
        of_rows: list[np.ndarray | None] = [None] * len(parts[-1])
        beside = path.with_suffix(".replicates.parquet")
        if beside.is_file():
            for row, of_row, jackknife in _read(beside).to_pandas().itertuples(index=False):
                of_rows[row] = of_row.view(intervals.Jackknifed) if jackknife else of_row
        replicates += of_rows
    table = _joined(parts).reindex(columns=list(COLUMNS)).astype(COLUMNS)
    return table.assign(replicates=pd.Series(replicates, dtype=object))


def merge(folder: Path | str, notebook: str | None = None) -> pd.DataFrame:
    """Read all tables of a study as one, in the order of their names.

    Args:
        folder: The folder of the tables.
        notebook: Only rows that this notebook wrote.

    Raises:
        FileNotFoundError: There is none.
    """
    beside = (".replicates.parquet", ".artefacts.parquet")
    paths = [p for p in sorted(Path(folder).glob("*.parquet")) if not p.name.endswith(beside)]
    if notebook is not None:  # known from the manifests, so that no other table is read
        manifests = provenance.manifests(folder)
        paths = [p for p in paths if manifests.get(p.stem, {}).get("notebook") == notebook]
    if not paths:
        kind = f"tables of {notebook}" if notebook else "tables"
        raise FileNotFoundError(f"no {kind} in {folder}: `make report` makes them")
    return read(*paths)


def merge_artefacts(folder: Path | str, kind: str) -> pd.DataFrame:
    """Read all artefacts of one kind, `content` decoded."""
    parts = [_read(path) for path in sorted(Path(folder).glob("*.artefacts.parquet"))]
    frame = _joined(parts) if parts else pd.DataFrame(columns=list(ARTEFACTS))
    frame = frame[frame["kind"] == kind].reset_index(drop=True)
    return frame.assign(content=[json.loads(content) for content in frame["content"]])


def whole_split(table: pd.DataFrame) -> pd.Series:
    """Give the split that each row's draw is of: `test` where that is `test[500]`, `all~dev` where it is `all~dev[60]`."""
    return table["split"].str.replace(r"\[-?\d+\]", "", regex=True)


def of_split(table: pd.DataFrame, name: str) -> pd.Series:
    """Mark the rows of a split, or of a draw from it."""
    return (whole_split(table) == name).fillna(False).astype(bool)


def select(table: pd.DataFrame, **equal: object) -> pd.DataFrame:
    """Take the rows that have these values: `select(table, method="rsa", layer=[0, 6], rows=None)`.

    Args:
        table: Tidy rows, or any frame.
        equal: By column, the value of its cells. A list means any of these, None an empty cell; a split also stands for draws
            from it, `test` for `test[500]`.

    Returns:
        Those rows, in their order; an empty frame where none match.

    Raises:
        ValueError: An unknown column.
    """
    if unknown := [column for column in equal if column not in table]:
        raise ValueError(f"unknown columns {unknown}: the table has {list(table.columns)}")
    chosen = np.ones(len(table), bool)
    for column, choice in equal.items():
        values = list(choice) if isinstance(choice, Iterable) and not isinstance(choice, str) else [choice]
        filled, cells = [value for value in values if not pd.isna(value)], table[column]
        fits = cells.isin(filled) | (cells.isna() & (len(filled) < len(values)))
        if column == "split":
            fits |= whole_split(table).isin(filled)
        chosen &= fits.to_numpy(bool)
    return table[chosen]


def texts(table: pd.DataFrame) -> pd.Series:
    """Name the text of each row as a reference does: `ewt:dev`, `mine.conllu[20]`; missing where a row is of no text."""
    split = table["split"].fillna("")
    return table["corpus"] + split.where(split.eq("") | split.str.startswith("["), ":" + split)


def on_first_text(table: pd.DataFrame) -> pd.DataFrame:
    """Take the rows measured on the first text: in the tables of a study, neutral text."""
    return table[table["corpus"].isin(table["corpus"].head(1)) & table["split"].isin(table["split"].head(1))]


MEASURED = ("notebook", "layer", "corpus", "split", "rows", "target", "probe", "probe_seed", "method", "metric")
"""Columns that say what a row measures, whatever of."""


def paired(table: pd.DataFrame, reference: str, by: str = "model", same: Sequence[str] = ()) -> pd.DataFrame:
    """Subtract one model's rows from the others', or one corpus's or task's, row by row and resample by resample.

    Args:
        table: Rows with replicates; those of a side differ in what is measured (layer, metric, corpus, split, ...).
        reference: The side that is subtracted.
        by: The column that distinguishes the sides.
        same: Columns in which a row must equal what is subtracted from it, beside those that say what is measured.

    Returns:
        What `subtract` gives, `reference_model` being the model that was subtracted.

    Raises:
        ValueError: See `subtract`.
    """
    on = [*dict.fromkeys([*(column for column in MEASURED if column != by), *same])]
    is_reference = (table[by] == reference).fillna(False)
    differences = subtract(table[~is_reference], table[is_reference], reference, on)
    return differences.assign(reference_model=reference).astype(COLUMNS) if by == "model" else differences


def subtract(rows: pd.DataFrame, reference: pd.DataFrame, name: str, on: Sequence[str] = MEASURED) -> pd.DataFrame:
    """Subtract from each row the one of a reference that agrees with it in some columns, resample by resample.

    Args:
        rows: Rows with replicates.
        reference: Rows with replicates, no two alike in those columns.
        name: What the reference is called in messages.
        on: The columns, empty being equal to empty.

    Returns:
        The rows that have a partner, with `value`, `ci_low`, `ci_high` and `replicates` of the difference. Rows of different
        corpora were drawn apart: their interval is that of two independent samples.

    Raises:
        ValueError: Nothing to pair, several rows of the reference fit, or rows without replicates.
    """
    if reference.duplicated(list(on)).any():
        raise ValueError(f"several rows of {name!r} measure the same thing: filter the table first")
    rows = rows.merge(reference[[*on, "value", "replicates"]], on=list(on), suffixes=("", "_reference"))
    if rows.empty:
        raise ValueError(f"no row can be paired with one of {name!r}")
    if rows[["replicates", "replicates_reference"]].isna().any(axis=None):
        raise ValueError(
            "rows without replicates cannot be paired: are the .replicates.parquet files beside the tables?"
        )
    sides = zip(rows["value"], rows["replicates"], rows["value_reference"], rows["replicates_reference"], strict=True)
    differences = pd.DataFrame([intervals.difference(*four) for four in sides], rows.index, dtype=object)
    rows[["value", "ci_low", "ci_high", "replicates"]] = differences
    return rows[[*COLUMNS, "replicates"]].astype(COLUMNS)


def minus(
    table: pd.DataFrame, reference: str, *, by: str = "model", same: Sequence[str] = (), over: str | None = None
) -> pd.DataFrame:
    """Subtract one side from the others as `paired` does; no rows where a table lacks that side, or any other.

    Args:
        table: As for `paired`, and so are `reference`, `by` and `same`.
        over: A column whose values are looked at together, see `at_once`; without it each interval stands for itself.

    Raises:
        ValueError: See `subtract`.
    """
    sides = set(table[by].dropna())
    if reference not in sides or len(sides) < 2:
        return table[:0]
    differences = paired(table, reference, by, same)
    return differences if over is None else at_once(differences, over)


def at_once(differences: pd.DataFrame, over: str = "layer") -> pd.DataFrame:
    """Widen intervals so that those of all layers of a curve hold at once, see `intervals.wider_together`.

    Args:
        differences: Rows with replicates.
        over: The column whose values are judged together, such as `layer`.
    """
    key = [c for c in COLUMNS if c not in (over, *NUMBERS)]
    result = differences.copy()
    for _, group in differences.groupby(key, dropna=False, sort=False):
        replicates = np.stack(list(group["replicates"])).astype(float)
        value, low, high = (group[column].to_numpy(float) for column in ("value", "ci_low", "ci_high"))
        half = (high - low) / 2 * intervals.wider_together(replicates)
        result.loc[group.index, ["ci_low", "ci_high"]] = np.stack([value - half, value + half], -1)
    return result
