"""HTML for notebooks and the book: Jinja2 templates, a file per kind, filled in by `render`, which shows all text as text."""

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

_ENVIRONMENT = Environment(
    loader=FileSystemLoader(Path(__file__).parent),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def render(template: str, **values: object) -> str:
    """Fill in a template.

    Args:
        template: Name of its file in this folder, without `.html`.
        values: What it shows; text is escaped, `markupsafe.Markup` is taken as it is.

    Raises:
        jinja2.UndefinedError: The template needs a value that was not given.
    """
    return _ENVIRONMENT.get_template(f"{template}.html").render(values).strip()
