# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is to be done so that the services of a machine run, in the order in which it is done."""

from __future__ import annotations

import typing as t

# ``unit``, ``state`` as ansible.builtin.systemd_service has it, and ``enabled``, which is None where that is left as it is.
Step = t.Dict[str, t.Any]


def service_steps(
    units: t.Iterable[str], in_service: t.Collection[str] = (), restart: t.Collection[str] = (), reload: t.Collection[str] = (),
    stop: t.Iterable[str] = (), disable: t.Iterable[str] = (), check: bool = False,
) -> t.List[Step]:
    """The steps after which ``units`` run and start at boot, in their order: before any is started those of ``disable`` are gone and those of ``stop`` stopped.

    ``in_service`` need nothing, unless they are among those to ``restart`` or to ``reload``. In check mode (``check``) what is to be restarted, or to
    be reloaded and not in service, may not be on the machine yet: nothing can be said of it.
    """
    steps: t.List[Step] = [{"unit": unit, "state": "stopped", "enabled": False} for unit in disable]
    steps += [{"unit": unit, "state": "stopped", "enabled": None} for unit in stop]
    for unit in units:
        state = "restarted" if unit in restart else "reloaded" if unit in reload else "started"
        needless = state == "started" and unit in in_service
        unsure = state == "restarted" or (state == "reloaded" and unit not in in_service)
        if not needless and not (check and unsure):
            steps.append({"unit": unit, "state": state, "enabled": True})
    return steps
