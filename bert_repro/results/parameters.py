"""Parameters of notebooks: reads the cell that declares them, and makes values of a command line's texts.

A line in another form than `name: type = default  # help`, an unknown name and a value of another type are errors.
"""

import ast
import difflib
import io
import json
import shlex
import tokenize
from collections.abc import Iterable, MutableMapping
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import TypeAdapter, ValidationError


class Parameter(NamedTuple):
    """One line of a parameters cell: `name: type = default  # help`."""

    name: str
    type: str
    default: Any
    help: str


_SCALARS = {"str": str, "int": int, "float": float, "bool": bool, "object": object}


def read(notebook: Path) -> list[Parameter]:
    """Read the parameters that a notebook declares.

    Raises:
        ValueError: Not a notebook, not exactly one cell tagged `parameters`, or a line in it of another form.
    """
    cells = [c for c in content(notebook)["cells"] if "parameters" in c.get("metadata", {}).get("tags", [])]
    if len(cells) != 1 or cells[0]["cell_type"] != "code":
        raise ValueError(f"{notebook}: expected one code cell tagged `parameters`, found {len(cells)} cells so tagged")
    source = "".join(cells[0]["source"])
    try:
        statements = ast.parse(source).body
    except SyntaxError as error:
        raise ValueError(f"{notebook}: the parameters cell is not Python: line {error.lineno}: {error.msg}") from None
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    comments = {token.start[0]: token.string.lstrip("# ") for token in tokens if token.type == tokenize.COMMENT}
    result = []
    for line in statements:
        match line:
            case ast.AnnAssign(target=ast.Name(id=name), annotation=annotation, value=ast.expr() as value):
                try:
                    _resolve(annotation)
                    default = _literal(value)
                except ValueError as error:
                    raise ValueError(f"{notebook}: parameter {name}: {error}") from None
                result.append(Parameter(name, ast.unparse(annotation), default, comments.get(line.end_lineno or 0, "")))
            case _:
                raise ValueError(
                    f"{notebook}: the parameters cell holds {ast.unparse(line)!r}: "
                    "expected one `name: type = value  # help` per line, and nothing else"
                )
    return result


def check(notebook: Path, given: dict[str, object]) -> None:
    """Refuse settings that a notebook does not declare, or not with this type.

    Args:
        notebook: The notebook.
        given: Parameter names and their values: text, numbers, truth values, lists and dictionaries.

    Raises:
        ValueError: An unknown name, or a value that does not fit the annotation.
    """
    declared = {parameter.name: parameter for parameter in read(notebook)}
    _names(notebook, declared, given)
    for name, value in given.items():
        try:
            expected: TypeAdapter[object] = TypeAdapter(_resolve(ast.parse(declared[name].type, mode="eval").body))
            expected.validate_python(value, strict=True)
            # What JSON changes (a tuple, a key that is no text) or lacks (nan) papermill would hand over as something else.
            if json.loads(json.dumps(value, allow_nan=False)) != value:
                raise ValueError("JSON has no such value")
        except (ValueError, TypeError) as error:
            why = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
            note = f" ({declared[name].help})" if declared[name].help else ""
            raise ValueError(
                f"{notebook}: parameter {name}{note} must be {declared[name].type}, "
                f"got {repr(value)[:200]} of type {type(value).__name__}: {why}"
            ) from None


def parse(assignments: list[tuple[str, str]], notebook: Path) -> dict[str, object]:
    """Turn texts of the command line into values of the types that a notebook declares.

    Args:
        assignments: Names and texts. A `str` parameter takes the text as it is, the others read it as JSON.
        notebook: The notebook.

    Returns:
        Names and values, as `run` takes them.

    Raises:
        ValueError: A name that is unknown or occurs twice, a text that is not JSON, or a value of another type.
    """
    declared = {parameter.name: parameter for parameter in read(notebook)}
    _names(notebook, declared, (name for name, _ in assignments))
    values: dict[str, object] = {}
    for name, text in assignments:
        if name in values:
            raise ValueError(f"parameter {name} is given twice: {values[name]!r} and {text!r}; keep one")
        try:
            values[name] = text if declared[name].type == "str" else json.loads(text)
        except json.JSONDecodeError:
            example = shlex.quote(json.dumps(declared[name].default))
            raise ValueError(
                f"{notebook}: cannot read {text!r} as {declared[name].type}: write it as in `-p {name} {example}`"
            ) from None
    check(notebook, values)
    return values


def take(notebook: Path, namespace: MutableMapping[str, Any]) -> dict[str, Any]:
    """Give a running notebook's parameters with their declared types; whatever started it may not have checked them.

    Papermill's own command line makes numbers of texts, and nothing else: a list or a truth value comes as text.

    Args:
        notebook: The notebook.
        namespace: Its `globals()`, in which such texts are replaced by what they say.

    Raises:
        ValueError: A parameter that the notebook does not have, or a value of another type.
    """
    declared = read(notebook)
    # what papermill put in: IPython keeps the cells that it ran
    put_in = [cell for cell in namespace.get("In", ()) if cell.startswith("# Parameters\n")]
    assigned = [node for cell in put_in for node in ast.parse(cell).body if isinstance(node, ast.Assign)]
    _names(
        notebook,
        {parameter.name: parameter for parameter in declared},
        (ast.unparse(node.targets[0]) for node in assigned),
    )
    values = {parameter.name: _meant(namespace[parameter.name], parameter.type) for parameter in declared}
    check(notebook, values)
    namespace.update(values)
    return values


def _meant(value: Any, kind: str) -> Any:
    """Read a text as JSON where something else than text is expected, and it is some."""
    if isinstance(value, str) and kind != "str":
        try:
            return json.loads(value)
        except json.JSONDecodeError:
            pass  # what it is then refused as
    return value


def content(notebook: Path) -> dict[str, Any]:
    """Read a notebook's JSON.

    Raises:
        ValueError: Not a notebook.
    """
    try:
        held = json.loads(Path(notebook).read_text(encoding="utf-8"))
    except ValueError:
        held = None
    if not isinstance(held, dict) or held.get("nbformat") != 4:
        raise ValueError(f"{notebook} is not a Jupyter notebook of format 4")
    return held


def _resolve(annotation: ast.expr) -> Any:
    """Give the type an annotation names, without running it."""
    match annotation:
        case ast.Name(id=name) if name in _SCALARS:
            return _SCALARS[name]
        case ast.Subscript(value=ast.Name(id="list"), slice=item):
            return list[_resolve(item)]  # type: ignore[misc]
        case ast.Subscript(value=ast.Name(id="dict"), slice=ast.Tuple(elts=[ast.Name(id="str"), item])):
            return dict[str, _resolve(item)]  # type: ignore[misc]
    raise ValueError(f"the type {ast.unparse(annotation)} is not {', '.join(_SCALARS)}, list[...] or dict[str, ...]")


def _literal(value: ast.expr) -> Any:
    try:
        return ast.literal_eval(value)
    except ValueError:
        raise ValueError(
            f"the default {ast.unparse(value)!r} must be a plain value; compute it in a later cell"
        ) from None


def _names(notebook: Path, known: dict[str, Parameter], names: Iterable[str]) -> None:
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1, cutoff=0)
            hint = f"did you mean {near[0]!r}? " if near else ""
            has = ", ".join(f"{p.name}: {p.type}" for p in known.values()) or "none"
            raise ValueError(f"{notebook} has no parameter {name!r}: {hint}It has {has}")
