# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, herd.llama_cpp contributors
"""How Sphinx builds the site; tools/docs_site.py puts its pages together (make docs-site)."""

from __future__ import annotations

project = "herd.llama_cpp"
copyright = "herd.llama_cpp contributors"
extensions = ["myst_parser", "sphinx_antsibull_ext"]
html_theme = "alabaster"
html_theme_options = {"description": "One OpenAI-compatible endpoint from several Linux machines", "page_width": "72em"}
html_show_sphinx = html_copy_source = html_use_index = False
pygments_style = "ansible"
highlight_language = "YAML+Jinja"
default_role = "any"
nitpicky = True
# Ansible's own pages, which only a network would bring.
nitpick_ignore_regex = [("std:ref", r"ansible_collections\.ansible\.builtin\..*|common_return_values|(action|callback)_plugins|ansible_configuration_settings")]
# Links in documents to a heading, as in a repository's browser.
myst_heading_anchors = 4
