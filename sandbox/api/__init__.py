"""The HTTP surface: Lambda's API as the service model describes it."""

from sandbox.api.app import create_app
from sandbox.api.services import Services

__all__ = ["Services", "create_app"]
