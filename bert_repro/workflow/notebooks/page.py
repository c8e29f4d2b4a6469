"""A notebook as one web page that needs no network and no second file.

No scripts are loaded from elsewhere: plotly.js is embedded once, MathJax only where there are formulae. Tables, verdicts and
figures look as in the book; what only the book can follow, a term or a citation, is left as its words.
"""

import copy
import re
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

from bert_repro.files import ROOT

# Three blocks of nbconvert's page that load scripts from the network; the fourth, for formulae, is filled from disk.
_PAGE = """{%- extends 'index.html.j2' -%}
{%- block html_head_js -%}<script>{{ resources.plotly }}</script>{%- endblock -%}
{%- block jupyter_widgets -%}{%- endblock -%}
{%- block extra_css -%}<style>{{ resources.style }}</style>{%- endblock -%}
{%- block html_head_js_mermaidjs -%}{%- endblock -%}
{%- block html_head_js_mathjax -%}{%- if resources.mathjax -%}
<script>MathJax = {tex: {inlineMath: [['$', '$'], ['\\\\(', '\\\\)']]},
  options: {ignoreHtmlClass: 'jp-Notebook', processHtmlClass: 'jp-MarkdownOutput'}};</script>
<script>{{ resources.mathjax }}</script>
{%- endif -%}{%- endblock -%}"""


_ROLE = re.compile(r"\{[a-z:]+\}`([^`<]*[^`<\s])(?: *<[^`]*>)?`")  # of MyST, such as {term}`words <word>`
STYLE = ROOT / "book" / "_static" / "custom.css"


def mathjax_script() -> Path:
    """Give the one file of MathJax that typesets formulae and fetches nothing, fonts included."""
    # located, not imported: the package that carries it is a Sphinx extension that would copy all 24 MB
    return Path(
        str(distribution("sphinx-mathjax-offline").locate_file("sphinx-mathjax-offline/static/mathjax/tex-svg.js"))
    )


def web_page(executed: Any, name: str) -> str:
    """Turn an executed notebook into one HTML page that holds all it needs."""
    from jinja2 import DictLoader
    from nbconvert import HTMLExporter
    from plotly.offline import get_plotlyjs

    executed = copy.deepcopy(executed)
    for cell in executed.cells:
        if cell.cell_type == "markdown":
            cell.source = _ROLE.sub(r"*\1*", cell.source)
    text = "".join(cell.source for cell in executed.cells if cell.cell_type == "markdown")
    mathjax = ""
    if "$" in text or "\\" in text:  # maybe formulae
        mathjax = mathjax_script().read_text(encoding="utf-8")
    heading = re.search(r"^#+ (.*\S)", text, re.MULTILINE)
    exporter = HTMLExporter(extra_loaders=[DictLoader({"page": _PAGE})], template_file="page")  # type: ignore[no-untyped-call]
    resources = {
        "metadata": {"name": heading[1] if heading else name},
        "plotly": "/*plotly.js*/",
        "style": STYLE.read_text(encoding="utf-8"),
        "mathjax": mathjax and "/*MathJax*/",
    }
    page, _ = exporter.from_notebook_node(executed, resources)
    # The scripts, some megabytes, go in last: nbconvert parses its whole page once more.
    return page.replace("/*MathJax*/", mathjax, 1).replace("/*plotly.js*/", get_plotlyjs(), 1)
