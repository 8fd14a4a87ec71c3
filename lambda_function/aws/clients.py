"""boto3 clients and their retry settings.

Reading, creating and changing have separate clients, because botocore's rate limiters and retry quota are per client,
shared by all its operations: throttling of one kind of call must not slow the others.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError

from lambda_function.aws.errors import translated
from lambda_function.aws.rate_limit import RateLimits, TokenBucket
from lambda_function.aws.send_pace import SendPace
from lambda_function.errors import ConfigurationError
from lambda_function.model.request import Target
from lambda_function.parallel import MAX_FREEZES, WORKERS

if TYPE_CHECKING:
    from mypy_boto3_ec2 import EC2Client
    from mypy_boto3_lambda import LambdaClient
    from mypy_boto3_ssm import SSMClient

FREEZE_CONNECTIONS = MAX_FREEZES + WORKERS
"""Connections for a client that freezes use: at least one per freeze, so that none waits for another's."""

_CONFIG = Config(
    retries={"mode": "adaptive", "total_max_attempts": 10},
    max_pool_connections=WORKERS,
    connect_timeout=5,
    read_timeout=30,
    user_agent_extra="aws-automatic-snapshots",
)

# Calls that change something have their own rate limits (`rate_limit.py`). Adaptive mode would add a limiter that,
# after EC2 refuses a call, allows twice the recent rate: next to nothing after a wait for the pending quota.
_CHANGING = _CONFIG.merge(
    Config(retries={"mode": "standard", "total_max_attempts": 10}, max_pool_connections=FREEZE_CONNECTIONS)
)

# botocore retries a create whose response is lost. Within 15 seconds EC2 refuses the retry, and the run finds and
# adopts the first snapshot; later the retry would create a second one.
_CREATING = _CHANGING.merge(Config(read_timeout=10))

# While a database is locked, creates must not queue behind others, as adaptive mode would make them, and few retries
# are worth the wait.
_URGENT = _CREATING.merge(
    Config(
        retries={"mode": "standard", "total_max_attempts": 3},
        connect_timeout=2,
        read_timeout=8,
        max_pool_connections=FREEZE_CONNECTIONS,
    )
)

_SSM = _CONFIG.merge(Config(retries={"mode": "standard", "total_max_attempts": 5}, read_timeout=10))

# Commands and polls for frozen instances: a thaw must not wait for a connection. botocore's retries would wait longer
# than a poll's successor, send a command twice, and know nothing of the thaws that have precedence.
_COMMANDS = _SSM.merge(
    Config(
        retries={"mode": "standard", "total_max_attempts": 1},
        connect_timeout=2,
        read_timeout=5,
        max_pool_connections=FREEZE_CONNECTIONS,
    )
)

# Invoke has no client token: a retry after a lost response would start a second, concurrent run.
_INVOKING = _CONFIG.merge(
    Config(retries={"mode": "standard", "total_max_attempts": 1}, connect_timeout=2, read_timeout=8)
)

# A second, concurrent run may create an extra snapshot; a run that never starts costs a backup.
_STARTING = _INVOKING.merge(Config(retries={"mode": "standard", "total_max_attempts": 4}, max_pool_connections=WORKERS))

THROTTLED = ("RequestLimitExceeded", "Client.RequestLimitExceeded")


@dataclass(frozen=True)
class HookClients:
    """What is used while instances are frozen: `urgent` for creates, `commands` for commands and polls."""

    urgent: EC2Client
    commands: SSMClient


@dataclass(frozen=True)
class Clients:
    """One session's clients and the rate limits they share; all are safe to use from several threads.

    The session is not: the clients that are built when they are first used are first used by one thread. `place` is
    the Region and the credentials if they are not the session's.
    """

    session: boto3.Session
    place: Mapping[str, Any]
    reading: EC2Client
    creating: EC2Client
    changing: EC2Client
    rate_limits: RateLimits
    send_pace: SendPace

    @cached_property
    def ssm(self) -> SSMClient:
        """For parameters, and for what is looked up before a freeze."""
        client: SSMClient = self.session.client("ssm", config=_SSM, **self.place)
        return client

    @cached_property
    def for_hooks(self) -> HookClients:
        """Only where there are hooks: building both takes a tenth of a second of CPU."""
        urgent = self.session.client("ec2", config=_URGENT, **self.place)
        _limit_creates(urgent, self.rate_limits, urgent=True)
        return HookClients(urgent, self.session.client("ssm", config=_COMMANDS, **self.place))


def build_lambda_client(region: str | None) -> LambdaClient:
    """Client to continue a run in another; built only then, because building it slows a cold start."""
    client: LambdaClient = boto3.Session(region_name=region or None).client("lambda", config=_INVOKING)
    return client


def build_starting_client(region: str | None) -> LambdaClient:
    """Client to start the runs of other accounts and Regions, several at once."""
    client: LambdaClient = boto3.Session(region_name=region or None).client("lambda", config=_STARTING)
    return client


def build_clients(region: str | None) -> Clients:
    """Clients for this Region, or for boto3's default one.

    Raises ConfigurationError if boto3 finds no Region or an endpoint it cannot use.
    """
    with _configuration_faults():
        session = boto3.Session(region_name=region or None)
        if not session.region_name:
            raise ConfigurationError("no AWS Region: set AWS_REGION")
        return _clients_of(session)


def build_clients_for(target: Target, own: Clients) -> Clients:
    """Clients for the target's Region with its role's credentials, valid for one hour.

    AssumeRole is called in the function's own Region: credentials from any Region's STS are valid in every Region.
    Raises AwsError if the role cannot be assumed, and ConfigurationError like `build_clients`.
    """
    session = own.session
    # The function's credentials only work in its own partition.
    partition = session.get_partition_for_region(session.region_name)
    external_id = {"ExternalId": target.external_id} if target.external_id else {}
    with _configuration_faults(), translated("AssumeRole"):
        credentials = session.client("sts", config=_CONFIG).assume_role(
            RoleArn=f"arn:{partition}:iam::{target.account}:role/{target.role}",
            RoleSessionName=f"auto-snapshots-{target.region}",
            **external_id,
        )["Credentials"]
    with _configuration_faults():
        # One session for all: another would load botocore's models again (0.4 s of CPU, 30 MB).
        return _clients_of(
            session,
            region_name=target.region,
            aws_access_key_id=credentials["AccessKeyId"],
            aws_secret_access_key=credentials["SecretAccessKey"],
            aws_session_token=credentials["SessionToken"],
        )


@contextmanager
def _configuration_faults() -> Iterator[None]:
    try:
        yield
    except (BotoCoreError, ValueError) as error:
        raise ConfigurationError(f"no AWS clients: {error}; see AWS_REGION, AWS_PROFILE, AWS_ENDPOINT_URL") from error


def _clients_of(session: boto3.Session, **place: Any) -> Clients:
    # Wall clock: Lambda suspends the machine between invocations, and the buckets refill meanwhile.
    clients = Clients(
        session,
        place,
        reading=session.client("ec2", config=_CONFIG, **place),
        creating=session.client("ec2", config=_CREATING, **place),
        changing=session.client("ec2", config=_CHANGING, **place),
        rate_limits=RateLimits.at(time.time, time.sleep),
        send_pace=SendPace(time.time, time.sleep),
    )
    _limit_creates(clients.creating, clients.rate_limits, urgent=False)
    _limit_rate(clients.changing, "DeleteSnapshot", clients.rate_limits.delete)
    _limit_rate(clients.changing, "CreateTags", clients.rate_limits.tag)
    return clients


def _limit_creates(client: EC2Client, limits: RateLimits, *, urgent: bool) -> None:
    _limit_rate(client, "CreateSnapshot", limits.create, urgent=urgent)
    _limit_rate(client, "CreateSnapshots", limits.create_set, urgent=urgent)


def _limit_rate(client: EC2Client, operation: str, bucket: TokenBucket, *, urgent: bool = False) -> None:
    """Make each botocore attempt, retries included, take a token before it is sent, and report throttling."""

    def before_send(**_: Any) -> None:
        bucket.take(urgent=urgent)

    def received(parsed_response: dict[str, Any] | None = None, **_: Any) -> None:
        if parsed_response and parsed_response.get("Error", {}).get("Code") in THROTTLED:
            bucket.refused()

    client.meta.events.register(f"before-send.ec2.{operation}", before_send)
    client.meta.events.register(f"response-received.ec2.{operation}", received)
