"""A handler around the product's that also tells where everything the process has loaded came from."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from lambda_function.handler import lambda_handler

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext


def handler(event: object, context: LambdaContext) -> dict[str, Any]:
    return {"report": lambda_handler(event, context), "loaded": {name: _origin(name) for name in sorted(sys.modules)}}


def _origin(name: str) -> str:
    """The module's file or a namespace package's first folder; empty for what is built in or made in memory."""
    module = sys.modules[name]
    return getattr(module, "__file__", None) or next(iter(getattr(module, "__path__", ())), "")
