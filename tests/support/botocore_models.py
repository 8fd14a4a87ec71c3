"""botocore reads a service's model for each session, and makes a class of it for each client: half of most tests' time.

Neither depends on session or client, so the tests' processes read and make each once.
"""

from __future__ import annotations

import functools
from typing import Any

from botocore.client import ClientCreator
from botocore.loaders import JSONFileLoader, Loader


def share() -> None:
    """From now on, in this process."""
    load, list_services, make_class = (
        JSONFileLoader.load_file,
        Loader.list_available_services,
        ClientCreator._create_client_class,  # type: ignore[attr-defined]
    )
    classes: dict[object, Any] = {}
    services: dict[object, list[str]] = {}

    @functools.cache
    def load_file(path: str) -> Any:
        return load(JSONFileLoader(), path)

    def list_available_services(loader: Any, type_name: str) -> list[str]:
        key = type_name, *loader.search_paths
        if key not in services:
            services[key] = list_services(loader, type_name)
        return services[key]

    def create_client_class(creator: Any, service_name: str, service_model: Any) -> Any:
        key = service_name, service_model.api_version
        if key not in classes:
            classes[key] = make_class(creator, service_name, service_model)
        return classes[key]

    shared: list[tuple[Any, str, Any]] = [
        (JSONFileLoader, "load_file", lambda _, path: load_file(path)),
        (Loader, "list_available_services", list_available_services),
        (ClientCreator, "_create_client_class", create_client_class),
    ]
    for owner, name, function in shared:
        setattr(owner, name, function)
