"""Settings of Sphinx: `make docs` builds these pages into site/."""

import sys
import tomllib
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE / "_ext"), str(HERE.parent / "src"), str(HERE.parent)]

from deqlab.version import __version__  # noqa: E402

_PROJECT = tomllib.loads((HERE.parent / "pyproject.toml").read_text())["project"]

project = "deqlab"
author = _PROJECT["authors"][0]["name"]
release = version = __version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "docstrings",
    "notebooks",
    "reference",
    "sentences",
]
exclude_patterns = ["_*"]

myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3

autodoc_class_signature = "mixed"
autodoc_inherit_docstrings = False
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_typehints_format = "short"
python_maximum_signature_line_length = 88
napoleon_custom_sections = [("Keys", "params_style")]
napoleon_use_ivar = True
napoleon_numpy_docstring = False
add_module_names = False
toc_object_entries = False

smartquotes = False  # options keep their two dashes
html_theme = "pydata_sphinx_theme"
html_title = f"deqlab {release}"
html_static_path = ["_static"]
html_favicon = "_static/favicon.svg"
html_css_files = ["deqlab.css"]
html_js_files = [("quiet.js", {"priority": 100})]  # before those of the theme
html_context = {"default_mode": "auto"}
html_show_sourcelink = False
html_copy_source = False
html_sidebars = {"index": []}
html_theme_options = {
    "icon_links": [
        {
            "name": "Repository",
            "url": _PROJECT["urls"]["Repository"],
            "icon": "fa-solid fa-code-branch",
        }
    ],
    "header_links_before_dropdown": 7,
    "navigation_depth": 2,
    "show_toc_level": 2,
    "secondary_sidebar_items": {"**": ["page-toc"], "index": []},
    "footer_start": ["copyright"],
    "footer_end": [],
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
}
copyright = "the deqlab developers, Apache-2.0"
