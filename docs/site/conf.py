"""Sphinx settings of the docs site: guide, measurements, and API pages from the docstrings. `make docs` builds it.

The source folder is `docs`. Before a build, one page per folder of the package is written into `docs/site/api`, so
that a new module needs no entry anywhere.
"""

import re
import shutil
from pathlib import Path

import accompgen_hf

SITE = Path(__file__).resolve().parent
ROOT = SITE.parents[1]
PACKAGE = Path(accompgen_hf.__file__).parent
API = SITE / "api"

project = "accompgen_hf"
author = "The accompgen_hf contributors"
release = accompgen_hf.__version__
root_doc = "index"
exclude_patterns = ["site/_build"]
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.autosummary", "sphinx.ext.napoleon"]

html_theme = "furo"
html_title = "accompgen_hf"
html_copy_source = False

myst_heading_anchors = 3  # links such as evaluate.md#the-systems are checked
nitpicky = True
nitpick_ignore_regex = [("py:.*", r"(?!accompgen_hf\.).*")]  # words of docstrings, and classes of other projects
suppress_warnings = ["ref.python"]  # a field's name, such as `start_s`, may belong to several classes

autodoc_typehints = "none"  # docstrings state shape, unit and range
autodoc_member_order = "bysource"
autodoc_inherit_docstrings = False  # those of Transformers belong to its own site
autosummary_generate = False
default_role = "literal"  # docstrings write `name` as Transformers does
napoleon_use_rtype = False
napoleon_use_ivar = True


def folders() -> dict[str, list[str]]:
    """Every folder of the package with the dotted names of its modules."""
    found: dict[str, list[str]] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        if "modules" in parts or "assets" in parts:  # metrics for `evaluate`, loaded by path
            continue
        name = ".".join(("accompgen_hf", *parts)).removesuffix(".__init__")
        found.setdefault("/".join(parts[:-1]) or "accompgen_hf", []).append(name)
    return found


def write_api_pages(app) -> None:
    """Write one page per folder, and the table of public names."""
    shutil.rmtree(API, ignore_errors=True)
    API.mkdir()
    pages = []
    for folder, modules in folders().items():
        pages.append(folder.replace("/", "."))
        text = [f"# `{folder}`", ""]
        for module in modules:
            text += [f"## `{module.removeprefix('accompgen_hf.')}`", "", "```{eval-rst}"]
            text += [f".. automodule:: {module}", "   :members:", "```", ""]
        (API / f"{pages[-1]}.md").write_text("\n".join(text), "utf-8")
    public = [getattr(accompgen_hf, name) for name in accompgen_hf.__all__]
    text = ["# Python API", "", "Import these from `accompgen_hf`:", "", "```{eval-rst}", ".. autosummary::", ""]
    text += [f"   ~{thing.__module__}.{thing.__qualname__}" for thing in public]
    text += ["```", "", "Every folder of the package has a page:", "", "```{toctree}", *pages, "```", ""]
    (API / "index.md").write_text("\n".join(text), "utf-8")


def to_rst(app, what, name, obj, options, lines: list[str]) -> None:
    """Turn a docstring's Markdown (code blocks, tables) and its indented commands into reStructuredText."""
    result, is_code, is_literal = [], False, False
    for number, line in enumerate(lines):
        fence = re.match(r"(\s*)```(\w*)$", line)
        if fence:
            is_code = not is_code
            result += [f"{fence[1]}.. code-block:: {fence[2] or 'text'}", ""] if is_code else [""]
            continue
        is_verbatim = line.startswith("|") or (what == "module" and line.startswith("    "))
        if is_code or not is_verbatim:
            is_literal = is_literal and not line.strip() and lines[number + 1 : number + 2] != [""]
            line = line if is_code else re.sub(r"`[^`]*`|\|", lambda part: "\\|" if part[0] == "|" else part[0], line)
        elif not is_literal:
            is_literal = True
            result += ["", ".. code-block:: text", ""]
        result.append(f"    {line}" if (is_code or is_literal) and line else line)
    lines[:] = result


def setup(app) -> None:
    app.connect("builder-inited", write_api_pages)
    app.connect("autodoc-process-docstring", to_rst, priority=100)  # before napoleon
