"""The site, built offline by ``python -m sphinx -W -b html docs BUILD``.

``-D plot_gallery=0`` leaves the examples of the gallery unexecuted.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

HERE = Path(__file__).parent
os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path[:0] = [str(HERE / "_extensions"), str(HERE.parent)]

from pnpkit import __version__  # noqa: E402

project = "pnpkit"
author = "pnpkit developers"
copyright = "pnpkit developers, MIT licence"
version = release = __version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_click",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
    "matplotlib.sphinxext.plot_directive",
    "mathml",
    "docstrings",
    "results_pages",
]
source_suffix = {".md": "markdown", ".rst": "restructuredtext"}
exclude_patterns = ["examples/README.rst", "Dockerfile", "_extensions"]
myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 4
highlight_language = "none"  # what a program prints is no Python
suppress_warnings = ["config.cache"]  # sphinx-gallery's settings hold objects

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_mock_imports = ["magicgui", "napari", "qtpy"]  # of the plug-in, which need a screen
napoleon_use_ivar = True
add_module_names = False
python_use_unqualified_type_names = True

plot_formats = [("png", 110)]
plot_html_show_formats = False
plot_html_show_source_link = False

sphinx_gallery_conf = {
    "examples_dirs": "examples",
    "gallery_dirs": "gallery",
    "filename_pattern": r"\.py$",
    "download_all_examples": False,
    "min_reported_time": 1,
    "show_memory": False,
    "write_computation_times": False,
    "show_signature": False,
    "remove_config_comments": True,
    "plot_gallery": "True",
}

html_theme = "pydata_sphinx_theme"
html_title = "pnpkit"
html_show_sourcelink = False
html_show_search_summary = False  # they are fetched, which a page opened from a file may not do
html_context = {"default_mode": "auto"}
html_static_path = ["_static"]
html_css_files = ["pnpkit.css"]
html_math_renderer = "mathml"
html_theme_options = {
    "navigation_with_keys": False,
    "show_toc_level": 2,
    "header_links_before_dropdown": 8,
    "navbar_align": "left",
    "navbar_end": ["theme-switcher"],
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": ["sphinx-version"],
}
