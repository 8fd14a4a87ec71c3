from __future__ import annotations

import pytest


@pytest.fixture
def one_thread(monkeypatch):
    """Calls of a run one after another, so that a seed or a schedule decides and nothing else."""

    def one_by_one(function, items, workers=1):
        return map(function, items)

    monkeypatch.setattr("lambda_function.runner.in_parallel", one_by_one)
    monkeypatch.setattr("lambda_function.changes.in_parallel", one_by_one)
    monkeypatch.setattr("lambda_function.hooked_creation.in_parallel", one_by_one)
