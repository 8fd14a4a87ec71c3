from __future__ import annotations

import pytest

from tests.support.freezing import Freezing


@pytest.fixture
def two():
    return Freezing("i-1", "i-2")


@pytest.fixture
def one():
    return Freezing("i-1")
