"""One look is one call of each kind, whatever the key."""

from __future__ import annotations

import pytest

from lambda_function.aws.ec2 import FILTER_VALUES
from lambda_function.model.tags import TagKeys
from lambda_function.run.offline import MOST_AT_ONCE


@pytest.mark.parametrize("key", ["AUTO-SNAPSHOT", "AUTO-SNAPSHOTS", "Backup", "a-b-c-d-e-f", "my_backup policies"])
def test_the_ids_of_a_look_fit_beside_the_tag_keys(key):
    assert MOST_AT_ONCE + len(TagKeys(key).searched()) <= FILTER_VALUES
