"""A function's process that ends at its k-th request, for every k: what the next ones make of it, over HTTP.

The process is real (`crashes/victim.py`): it runs the handler with boto3 against the endpoint and ends by `os._exit`
when its k-th request is about to be sent, or was just answered. The requests are counted in a run that nothing ends;
its calls are made one after another (`crashes/schedule.py`), so that they are the same each time. The repetitions run
in this process.
"""

from __future__ import annotations

import pytest

from lambda_function import handler
from tests.campaigns.crashes.deaths import Gate, Way
from tests.campaigns.crashes.endpoint_fleet import EndpointFleet
from tests.campaigns.crashes.invariants import prospects
from tests.campaigns.crashes.night import BEGINS, LATER, Night
from tests.support.campaign import NIGHTLY, sized
from tests.support.endpoint import Rules, endpoint

pytestmark = pytest.mark.campaign

BEYOND_THE_LAST = 10_000


@pytest.fixture(scope="module")
def night(tmp_path_factory):
    """The fleet after the hourly run, and the process from which those that die are forked."""
    with endpoint(Rules()) as (_, rules):
        handler.clients.cache_clear()
        fleet = EndpointFleet(rules, tmp_path_factory.mktemp("crash"))
        night = Night(fleet)
        night.slot("hour", BEGINS["hour"], None)
        with fleet.process():
            yield night
        handler.clients.cache_clear()


@pytest.fixture(scope="module")
def die(night):
    """Let the daily run die and be repeated, and tell which requests it made and what it left."""
    fleet = night.fleet
    saved = fleet.save()

    def die(at, side):
        fleet.restore(saved)
        gate = Gate(None, Way.EXIT, at, side)
        night.slot("day", BEGINS["day"], gate)
        return gate.calls, prospects(fleet)

    return die


# Before the next request is sent is after the last one was answered: for EC2 it is the same. At night both are tried.
@pytest.mark.parametrize("side", ["before", "after"] if NIGHTLY else ["before"])
def test_the_next_process_completes_one_that_ends_at_any_request(night, die, side):
    calls, expected = die(BEYOND_THE_LAST, side)
    for at in range(1, len(calls) + 1, sized(1, 1, 9)):
        made, left = die(at, side)
        assert made == calls[:at]
        assert left == expected, f"{side} request {at}, {calls[at - 1]}"
    # All of them have left the same world; so its later slots are played once.
    for period, begins in LATER[2:5]:
        night.slot(period, begins, None)
