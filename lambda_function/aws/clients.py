"""boto3's clients, and how they retry.

One client each for describing, creating and changing, so that what one kind of call waits for leaves the others alone:
botocore's limiters and its quota of retries belong to a client, for all its operations together.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError

from lambda_function.aws.errors import translated
from lambda_function.aws.rate_limit import RateLimits, TokenBucket
from lambda_function.errors import ConfigurationError
from lambda_function.model.request import Target
from lambda_function.parallel import MAX_FREEZES, WORKERS

if TYPE_CHECKING:
    from mypy_boto3_ec2 import EC2Client
    from mypy_boto3_lambda import LambdaClient
    from mypy_boto3_ssm import SSMClient

_CONFIG = Config(
    retries={"mode": "adaptive", "total_max_attempts": 10},
    max_pool_connections=WORKERS,
    connect_timeout=5,
    read_timeout=30,
    user_agent_extra="aws-automatic-snapshots",
)

# What changes something has rate limits of its own (`rate_limit.py`). Adaptive mode would add a limiter that, once
# EC2 has refused a call, allows twice what was sent lately: next to nothing after a wait for room.
_CHANGING = _CONFIG.merge(Config(retries={"mode": "standard", "total_max_attempts": 10}))

FREEZE_CONNECTIONS = MAX_FREEZES + WORKERS
"""Connections where one per freeze is wanted, so that none waits for another's."""

# A create whose answer is lost is sent again by botocore. Within 15 seconds EC2 refuses the second one,
# and what the first one made is found and adopted; later it would make another snapshot.
_CREATING = _CHANGING.merge(Config(read_timeout=10))

# While a database is locked nothing may queue behind other creates, as the adaptive mode would have it,
# and few retries are worth the wait.
_URGENT = _CREATING.merge(
    Config(
        retries={"mode": "standard", "total_max_attempts": 3},
        connect_timeout=2,
        read_timeout=8,
        max_pool_connections=FREEZE_CONNECTIONS,
    )
)

# Stages of all frozen instances run side by side, and a thaw must not wait for a connection.
_COMMANDS = _CONFIG.merge(
    Config(
        retries={"mode": "standard", "total_max_attempts": 5}, max_pool_connections=FREEZE_CONNECTIONS, read_timeout=10
    )
)


# One look at commands serves all frozen instances, and the next one is near: a repetition within it would only be
# waited for by those whose time is over.
_POLLING = _COMMANDS.merge(
    Config(retries={"mode": "standard", "total_max_attempts": 1}, connect_timeout=2, read_timeout=5)
)

# Invoke takes no client token: an attempt whose answer is lost, sent again, would be another run beside the first.
_INVOKING = _CONFIG.merge(
    Config(retries={"mode": "standard", "total_max_attempts": 1}, connect_timeout=2, read_timeout=8)
)

# A second run beside the first may make a snapshot more; one that was never started costs a backup.
_STARTING = _INVOKING.merge(Config(retries={"mode": "standard", "total_max_attempts": 4}, max_pool_connections=WORKERS))

THROTTLED = ("RequestLimitExceeded", "Client.RequestLimitExceeded")


@dataclass(frozen=True)
class Clients:
    """One session's clients, and the rate limits they share; all are safe to use from several threads.

    The session itself is not: clients are built of it before threads begin.
    """

    session: boto3.Session
    reading: EC2Client
    creating: EC2Client
    urgent: EC2Client
    changing: EC2Client
    ssm: SSMClient
    polling: SSMClient
    rate_limits: RateLimits


def build_lambda_client(region: str | None) -> LambdaClient:
    """For a run that is continued in another: built only then, since it costs time at a cold start."""
    client: LambdaClient = boto3.Session(region_name=region or None).client("lambda", config=_INVOKING)
    return client


def build_starting_client(region: str | None) -> LambdaClient:
    """For a run that starts those of other accounts and Regions, several at once."""
    client: LambdaClient = boto3.Session(region_name=region or None).client("lambda", config=_STARTING)
    return client


def build_clients(region: str | None) -> Clients:
    """Clients for this Region, or for boto3's default one.

    Raises ConfigurationError where boto3 finds no Region or an endpoint it cannot use.
    """
    with _configuration_faults():
        session = boto3.Session(region_name=region or None)
        if not session.region_name:
            raise ConfigurationError("no AWS Region: set AWS_REGION")
        return _clients_of(session)


def build_clients_for(target: Target, own: Clients) -> Clients:
    """Clients for the target's Region with its role's credentials, which last for an hour.

    The role is asked for in the own Region: what a Region's own STS gives is valid in every Region. Raises AwsError
    where the role is not given, and ConfigurationError as `build_clients` does.
    """
    session = own.session
    # No partition but the function's own can be reached with its credentials.
    partition = session.get_partition_for_region(session.region_name)
    external_id = {"ExternalId": target.external_id} if target.external_id else {}
    with _configuration_faults(), translated("AssumeRole"):
        given = session.client("sts", config=_CONFIG).assume_role(
            RoleArn=f"arn:{partition}:iam::{target.account}:role/{target.role}",
            RoleSessionName=f"auto-snapshots-{target.region}",
            **external_id,
        )["Credentials"]
    with _configuration_faults():
        # Of one session, since another would read botocore's models again: 0.4 s of CPU and 30 MB.
        return _clients_of(
            session,
            region_name=target.region,
            aws_access_key_id=given["AccessKeyId"],
            aws_secret_access_key=given["SecretAccessKey"],
            aws_session_token=given["SessionToken"],
        )


@contextmanager
def _configuration_faults() -> Iterator[None]:
    try:
        yield
    except (BotoCoreError, ValueError) as error:
        raise ConfigurationError(f"no AWS clients: {error}; see AWS_REGION, AWS_PROFILE, AWS_ENDPOINT_URL") from error


def _clients_of(session: boto3.Session, **place: Any) -> Clients:
    """New clients; `place` is their Region and credentials where they are not the session's."""
    # The wall clock: Lambda stops a machine between invocations, and EC2's buckets fill meanwhile.
    rate_limits = RateLimits.at(time.time, time.sleep)
    clients = Clients(
        session=session,
        reading=session.client("ec2", config=_CONFIG, **place),
        creating=session.client("ec2", config=_CREATING, **place),
        urgent=session.client("ec2", config=_URGENT, **place),
        changing=session.client("ec2", config=_CHANGING, **place),
        ssm=session.client("ssm", config=_COMMANDS, **place),
        polling=session.client("ssm", config=_POLLING, **place),
        rate_limits=rate_limits,
    )
    for client, is_urgent in ((clients.creating, False), (clients.urgent, True)):
        _limit_rate(client, "CreateSnapshot", rate_limits.create, urgent=is_urgent)
        _limit_rate(client, "CreateSnapshots", rate_limits.create_set, urgent=is_urgent)
    _limit_rate(clients.changing, "DeleteSnapshot", rate_limits.delete)
    _limit_rate(clients.changing, "CreateTags", rate_limits.tag)
    return clients


def _limit_rate(client: EC2Client, operation: str, bucket: TokenBucket, *, urgent: bool = False) -> None:
    """Each attempt of botocore's, repetitions included, takes a token before it is sent, and reports a refusal."""

    def before_send(**_: Any) -> None:
        bucket.take(urgent=urgent)

    def received(parsed_response: dict[str, Any] | None = None, **_: Any) -> None:
        if parsed_response and parsed_response.get("Error", {}).get("Code") in THROTTLED:
            bucket.refused()

    client.meta.events.register(f"before-send.ec2.{operation}", before_send)
    client.meta.events.register(f"response-received.ec2.{operation}", received)
