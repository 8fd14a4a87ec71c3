"""Policies from SSM Parameter Store: one parameter each, read by path."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lambda_function.aws.errors import translated
from lambda_function.errors import AwsError
from lambda_function.inputs.policy import Parameter

if TYPE_CHECKING:
    from mypy_boto3_ssm import SSMClient

PAGE = 10
"""Maximum page size of `GetParametersByPath`."""


@dataclass(frozen=True)
class ParameterStore:
    """The parameters directly under `path`, which ends with a slash."""

    client: SSMClient
    path: str

    def read(self) -> list[Parameter]:
        """All parameters. An encrypted one that cannot be decrypted carries its error instead of a value.

        Raises AwsError if the listing could not be completed.
        """
        pages = self.client.get_paginator("get_parameters_by_path").paginate(
            Path=self.path.rstrip("/"),
            Recursive=False,
            WithDecryption=False,
            PaginationConfig={"PageSize": PAGE},
        )
        found: dict[str, Parameter] = {}
        with translated("GetParametersByPath"):
            for page in pages:
                for raw in page["Parameters"]:
                    name = raw["Name"]
                    found[name] = Parameter(name, raw.get("Value", ""), secure=raw.get("Type") == "SecureString")
        return [self._decrypted(parameter) if parameter.secure else parameter for parameter in found.values()]

    def _decrypted(self, parameter: Parameter) -> Parameter:
        try:
            with translated("GetParameter"):
                answer = self.client.get_parameter(Name=parameter.name, WithDecryption=True)
                return Parameter(parameter.name, answer["Parameter"]["Value"], secure=True)
        except AwsError as error:
            return Parameter(parameter.name, error=f"could not be read and decrypted: {error}", secure=True)
