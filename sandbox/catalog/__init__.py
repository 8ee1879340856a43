"""Functions, versions, aliases and their code: what is deployed, kept on disk, read from memory."""

from sandbox.catalog.attachments import FunctionUrl, Policy, RuntimeManagement
from sandbox.catalog.catalog import Catalog
from sandbox.catalog.code_store import CodeStore
from sandbox.catalog.layers import Layer, LayerKey, Layers, LayerVersion
from sandbox.catalog.records import Alias, Code, EventInvokeConfig, Function, Version

__all__ = [
    "Alias",
    "Catalog",
    "Code",
    "CodeStore",
    "EventInvokeConfig",
    "Function",
    "FunctionUrl",
    "Layer",
    "LayerKey",
    "LayerVersion",
    "Layers",
    "Policy",
    "RuntimeManagement",
    "Version",
]
