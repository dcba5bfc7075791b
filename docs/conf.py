"""Sphinx builds the site from the Markdown files of the repository: ``make docs``.

The source folder is the whole repository, so that a link between two files works on the site as it does where
the files lie. Every warning is an error: a link that leads nowhere, a page that no contents list names.
"""

from __future__ import annotations

import parsl_optuna

project = "parsl-optuna"
version = release = parsl_optuna.__version__
smartquotes = False  # an option begins with two hyphens
root_doc = "docs/index"
include_patterns = ["docs/**.md", "benchmarks/README.md", "CONTRIBUTING.md", "CHANGELOG.md"]
exclude_patterns = [".*", "build", "artifacts", "results", "tests", "workflow", "benchmarks/[!R]*"]
templates_path = ["_templates"]

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
myst_heading_anchors = 3
source_suffix = {".md": "markdown"}

add_module_names = False
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
python_use_unqualified_type_names = True
napoleon_numpy_docstring = False
default_role = "code"  # single backquotes in docstrings

html_theme = "furo"
html_title = "parsl-optuna"
html_additional_pages = {"index": "redirect.html"}
html_copy_source = False
html_show_copyright = html_show_sphinx = False
