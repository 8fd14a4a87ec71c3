"""Restoring: moto's images know no snapshots, nor do the instances launched from them; root volumes stay."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

from moto.core.responses import ActionResult
from moto.ec2.models.instances import InstanceBackend
from moto.ec2.responses import EC2Response
from moto.ec2.responses.amis import AmisResponse


@contextmanager
def restoring() -> Iterator[None]:
    """An image's block devices are those of its instances, and its snapshots cannot be deleted; root volumes can be
    replaced."""
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

    tasks: dict[str, dict[str, str]] = {}

    def replace_root(response: Any) -> ActionResult:
        backend, snapshot_id = response.ec2_backend, response._get_param("SnapshotId")
        instance = backend.get_instance(response._get_param("InstanceId"))
        old = instance.block_device_mapping[instance.root_device_name].volume_id
        assert backend.snapshots[snapshot_id].volume.id == old, "not a snapshot of this root volume"
        new = backend.create_volume(8, instance.placement, snapshot_id)
        backend.detach_volume(old, instance.id, instance.root_device_name)
        backend.attach_volume(new.id, instance.id, instance.root_device_name)
        task = {"ReplaceRootVolumeTaskId": f"replacevol-{new.id}", "TaskState": "succeeded"}
        tasks[task["ReplaceRootVolumeTaskId"]] = task
        return ActionResult({"ReplaceRootVolumeTask": {**task, "TaskState": "pending"}})

    def describe_tasks(response: Any) -> ActionResult:
        return ActionResult(
            {"ReplaceRootVolumeTasks": [tasks[each] for each in response._get_param("ReplaceRootVolumeTaskIds")]}
        )

    with (
        mock.patch.object(EC2Response, "create_replace_root_volume_task", replace_root, create=True),
        mock.patch.object(EC2Response, "describe_replace_root_volume_tasks", describe_tasks, create=True),
        mock.patch.object(AmisResponse, "register_image", register_image),
        mock.patch.object(InstanceBackend, "run_instances", run_instances),
    ):
        yield
