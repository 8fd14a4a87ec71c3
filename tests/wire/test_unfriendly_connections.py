"""Connections that break: no answer is ever taken for a shorter one."""

from __future__ import annotations

import json

import pytest

from lambda_function.aws.clients import build_clients
from lambda_function.aws.ec2 import Ec2Ebs
from lambda_function.aws.parameter_store import ParameterStore
from lambda_function.errors import NoAnswerError
from lambda_function.model.period import Period
from lambda_function.model.tags import TagKeys
from tests.support.faults import Faults
from tests.wire import rude_server as manners

ITEM = (
    "<item><snapshotId>snap-{}</snapshotId><volumeId>vol-1</volumeId><status>completed</status>"
    "<startTime>2026-03-02T00:05:00.000Z</startTime>"
    "<tagSet><item><key>AUTO-SNAPSHOT-PERIOD</key><value>hour</value></item></tagSet></item>"
)
PAGE = f"<R><snapshotSet>{''.join(ITEM.format(n) for n in range(20))}</snapshotSet></R>".encode()
PARAMETERS = json.dumps({"Parameters": [{"Name": f"/p/{n}", "Value": "{}"} for n in range(10)]}).encode()
MANNERS = [
    manners.resets,
    manners.hangs_up,
    manners.ends_within_the_head,
    manners.ends_before_its_length,
    manners.ends_before_the_last_chunk,
    manners.ends_early_without_a_length,
    manners.speaks_no_http,
]


@pytest.fixture
def clients_of(monkeypatch):
    """Clients of a server; they do not wait between attempts."""
    faults = Faults()
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")

    def build(address):
        monkeypatch.setenv("AWS_ENDPOINT_URL", address)
        clients = build_clients("eu-west-1")
        return clients, faults.before(clients)

    return build


@pytest.mark.parametrize("manner", MANNERS, ids=lambda manner: manner.__name__)
def test_a_listing_with_a_broken_connection_is_an_error(clients_of, manner):
    """It is never a shorter list."""
    with manners.rude_server(manner, PAGE) as address:
        clients, patient = clients_of(address)
        ebs = Ec2Ebs(clients, TagKeys("AUTO-SNAPSHOT"))
        with patient, pytest.raises(NoAnswerError, match="DescribeSnapshots: "):
            ebs.list_snapshots([Period.HOUR])


@pytest.mark.parametrize("manner", MANNERS, ids=lambda manner: manner.__name__)
def test_policies_with_a_broken_connection_are_an_error(clients_of, manner):
    """There are never fewer policies."""
    with manners.rude_server(manner, PARAMETERS) as address:
        clients, patient = clients_of(address)
        with patient, pytest.raises(NoAnswerError, match="GetParametersByPath: "):
            ParameterStore(clients.ssm, "/p/").read()


def test_the_server_s_page_lists_twenty_where_nothing_breaks(clients_of):
    def politely(connection, body):
        connection.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + body)

    with manners.rude_server(politely, PAGE) as address:
        clients, patient = clients_of(address)
        ebs = Ec2Ebs(clients, TagKeys("AUTO-SNAPSHOT"))
        with patient:
            assert len(ebs.list_snapshots([Period.HOUR])) == 20
