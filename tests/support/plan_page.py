# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The page of a plan as the role cluster_plan writes it, without Ansible, and the settings that its commands are made of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jinja2
from service_settings import STARTED

TEMPLATE = Path(__file__).resolve().parents[2] / "roles" / "cluster_plan" / "templates" / "plan.html.j2"
#: The fact llama_server_settings of a head for which nothing but an address is set.
SERVER = STARTED["llama_server"]


def rendered(page: dict[str, Any]) -> str:
    """What the template makes of what the filter plan_page returned. Ansible's Jinja trims blocks too, and escapes nothing by itself."""
    environment = jinja2.Environment(trim_blocks=True, keep_trailing_newline=True, autoescape=False, undefined=jinja2.StrictUndefined)
    return environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(__cluster_plan_page=page)


def addressed(machines: list[dict[str, Any]], **workers: dict[str, Any]) -> list[dict[str, Any]]:
    """The machines with an address each, and the settings of the ``workers``, by name."""
    return [dict(machine, address="198.18.0.%d" % (10 + number), worker=workers.get(machine["name"], {})) for number, machine in enumerate(machines)]
