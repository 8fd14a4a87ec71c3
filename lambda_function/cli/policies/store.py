"""Writes to Parameter Store for `push`. It is not in aws/ because the function itself never writes a policy."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lambda_function.aws.errors import translated

if TYPE_CHECKING:
    from mypy_boto3_ssm import SSMClient
    from mypy_boto3_ssm.type_defs import ParameterMetadataTypeDef

_NAMES = 50
"""Values of one filter of `DescribeParameters`, and its largest page."""


@dataclass(frozen=True)
class PolicyStore:
    """Writes parameters directly under `path`, which ends with a slash. Every method raises AwsError."""

    client: SSMClient
    path: str

    def describe(self, names: Collection[str]) -> dict[str, ParameterMetadataTypeDef]:
        """Type, key, tier and description of the named policies that are stored."""
        wanted = [self.path + name for name in sorted(names)]
        found: dict[str, ParameterMetadataTypeDef] = {}
        for start in range(0, len(wanted), _NAMES):
            pages = self.client.get_paginator("describe_parameters").paginate(
                ParameterFilters=[{"Key": "Name", "Option": "Equals", "Values": wanted[start : start + _NAMES]}],
                PaginationConfig={"PageSize": _NAMES},
            )
            with translated("DescribeParameters"):
                for page in pages:
                    found.update(
                        (parameter["Name"].removeprefix(self.path), parameter) for parameter in page["Parameters"]
                    )
        return found

    def create(self, name: str, value: str) -> None:
        """Create a policy. One that somebody else created meanwhile is not overwritten."""
        with translated("PutParameter"):
            self.client.put_parameter(Name=self.path + name, Value=value, Type="String", Overwrite=False)

    def replace(self, name: str, value: str, present: ParameterMetadataTypeDef) -> None:
        """Change a policy's value only. The key must be sent: the default is the account's key."""
        kept: dict[str, str] = {}
        if present.get("Type") == "SecureString" and "KeyId" in present:
            kept["KeyId"] = present["KeyId"]
        if present.get("Tier") == "Advanced":
            kept["Tier"] = "Advanced"
        # It is not documented whether a new version keeps these.
        if "Description" in present:
            kept["Description"] = present["Description"]
        if "AllowedPattern" in present:
            kept["AllowedPattern"] = present["AllowedPattern"]
        with translated("PutParameter"):
            self.client.put_parameter(
                Name=self.path + name,
                Value=value,
                Overwrite=True,
                Type=present.get("Type", "String"),
                **kept,  # type: ignore[arg-type]  # which keys depends on `present`
            )

    def delete(self, name: str) -> None:
        """Delete a policy's parameter."""
        with translated("DeleteParameter"):
            self.client.delete_parameter(Name=self.path + name)
