"""Parameter Store as a person's push needs it. The function itself never writes a policy, so this is not its edge."""

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
        """Type, key, tier and description of those of these policies that are stored."""
        wanted = [self.path + name for name in sorted(names)]
        found: dict[str, ParameterMetadataTypeDef] = {}
        for start in range(0, len(wanted), _NAMES):
            pages = self.client.get_paginator("describe_parameters").paginate(
                ParameterFilters=[{"Key": "Name", "Option": "Equals", "Values": wanted[start : start + _NAMES]}],
                PaginationConfig={"PageSize": _NAMES},
            )
            with translated("DescribeParameters"):
                for page in pages:
                    found.update((each["Name"].removeprefix(self.path), each) for each in page["Parameters"])
        return found

    def create(self, name: str, value: str) -> None:
        """Put a policy that was not there. One that somebody else put meanwhile is not written over."""
        with translated("PutParameter"):
            self.client.put_parameter(Name=self.path + name, Value=value, Type="String", Overwrite=False)

    def replace(self, name: str, value: str, present: ParameterMetadataTypeDef) -> None:
        """Give a policy another value. All else stays; without its key it would get the account's."""
        kept: dict[str, str] = {}
        if present.get("Type") == "SecureString" and "KeyId" in present:
            kept["KeyId"] = present["KeyId"]
        if present.get("Tier") == "Advanced":
            kept["Tier"] = "Advanced"
        # Whether a new version keeps these by itself is not documented.
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
                **kept,  # type: ignore[arg-type]  # which of them depends on what is there
            )

    def delete(self, name: str) -> None:
        """Delete a policy's parameter."""
        with translated("DeleteParameter"):
            self.client.delete_parameter(Name=self.path + name)
