"""Sphinx: how these pages are built.

sphinx-build -W -b html docs build/docs
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

_ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(_ROOT))
# A separate options file, so that building the pages creates none in the user's home.
os.environ["COTTONCANDY_OPTIONS"] = str(_ROOT / "defaults.cfg")

from cottoncandy._version import __version__  # noqa: E402 - after the two lines above

project = "cottoncandy"
author = "The cottoncandy developers"
project_copyright = "the cottoncandy developers"
version = release = __version__

extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx_click",
    "sphinx_copybutton",
]
exclude_patterns = ["_build"]

myst_enable_extensions = ["colon_fence", "deflist", "smartquotes"]
myst_heading_anchors = 3

autodoc_typehints = "none"  # the docstrings describe the types
autodoc_member_order = "bysource"
autosummary_generate = False
numpydoc_show_class_members = False
numpydoc_class_members_toctree = False

# An unresolved reference within the project is an error; other projects are not looked up.
nitpicky = True
nitpick_ignore_regex = [
    (r"py:.*", r"(botocore|boto3|dask|fsspec|numpy|np|obstore|scipy|xarray|zarr)\b.*"),
    (r"py:.*", r"(pathlib|posixpath|json|pickle|io|glob)\b.*"),
    (r"py:.*", r"(configparser|collections|datetime|typing|abc|os|enum)\b.*"),
    (r"py:.*", r"(ABC|Any|Exception)"),
]

smartquotes = False  # docstrings contain options (--json) and values in quotes

copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True
copybutton_only_copy_prompt_lines = True

html_theme = "pydata_sphinx_theme"
html_title = "cottoncandy"
html_static_path = ["_static"]
html_css_files = ["cottoncandy.css"]
html_show_sourcelink = False
html_copy_source = False
html_theme_options = {
    "logo": {"text": "cottoncandy"},
    "header_links_before_dropdown": 7,
    "navbar_align": "left",
    "show_toc_level": 1,
    "footer_start": ["copyright"],
    "footer_end": [],
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
}
html_sidebars = {"index": [], "tour": [], "from-040": [], "changelog": []}
