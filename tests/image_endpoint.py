"""Images made from snapshots: moto registers them without their volumes and launches instances without those."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

from moto.ec2.models.instances import InstanceBackend
from moto.ec2.responses.amis import AmisResponse


@contextmanager
def images() -> Iterator[None]:
    """An image's block devices are those of its instances, and its snapshots cannot be deleted."""
    mappings: dict[str, list[dict[str, Any]]] = {}
    register, add = AmisResponse.register_image, InstanceBackend.run_instances

    def register_image(response: Any) -> Any:
        answer = register(response)
        image_id = answer.result["ImageId"]
        mappings[image_id] = response._parse_block_device_mapping()
        response.ec2_backend.amis[image_id].root_device_name = response._get_param("RootDeviceName")
        for mapping in mappings[image_id]:
            response.ec2_backend.snapshots[mapping["Ebs"]["SnapshotId"]].from_ami = image_id
        return answer

    def run_instances(backend: Any, image_id: str, *args: Any, **kwargs: Any) -> Any:
        if image_id in mappings:
            kwargs.setdefault("block_device_mappings", mappings[image_id])
        return add(backend, image_id, *args, **kwargs)

    with (
        mock.patch.object(AmisResponse, "register_image", register_image),
        mock.patch.object(InstanceBackend, "run_instances", run_instances),
    ):
        yield
