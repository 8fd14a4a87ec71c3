from __future__ import annotations

import pytest

from lambda_function import handler
from tests.support.endpoint import Rules, endpoint


@pytest.fixture
def rules(now):
    """An endpoint's rules; the endpoint is this process's AWS, at the simulated time."""
    with endpoint(Rules(clock=now)) as (_, rules):
        handler.clients.cache_clear()
        yield rules
        handler.clients.cache_clear()
