# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import clusters
import pytest


@pytest.fixture(scope="session")
def cluster() -> clusters.Cluster:
    return clusters.scenario("default")


@pytest.fixture(scope="module", autouse=True)
def well(cluster: clusters.Cluster) -> None:
    """The module before may have restarted something."""
    cluster.settle()
