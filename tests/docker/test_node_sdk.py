"""What nodejs runtimes bring along: clients of the AWS SDK, for `require` and for `import`."""

from __future__ import annotations

import json
from collections.abc import Mapping

import pytest

from tests.support.images import ensure
from tests.support.instance import ROOT, Deploy, Instance, package

CLIENTS = sorted(
    pin["name"]
    for pin in json.loads((ROOT / "images/nodejs-client/packages.json").read_text())
    if pin["name"].startswith(("@aws-sdk/client-", "@aws-sdk/lib-"))
)

REQUIRE = """
exports.handler = async (names) => {
  const { S3Client } = require("@aws-sdk/client-s3");
  const region = await new S3Client({}).config.region();
  return [region, names.filter((name) => Object.keys(require(name)).length === 0)];
};
"""
IMPORT = """
import { S3Client } from "@aws-sdk/client-s3";
import { readFile } from "node:fs/promises";
import own from "own";
import layer from "layer";
import { major } from "major";

export const handler = async (names) => {
  const missing = await import("none").catch((error) => error.code);
  await Promise.all(names.map((name) => import(name)));
  return [await new S3Client({}).config.region(), own, layer, major, missing, typeof readFile];
};
"""
MODULE = '{"name": "major", "type": "module", "exports": "./index.js"}'
LAYER: Mapping[str, str | bytes] = {
    "nodejs/node_modules/layer/index.js": "module.exports = 'layer';",
    "nodejs/node_modules/own/index.js": "module.exports = 'layer';",
    "nodejs/node{major}/node_modules/major/index.js": "export const major = 'major';",
    "nodejs/node{major}/node_modules/major/package.json": MODULE,
}


@pytest.fixture(scope="module", params=[24, pytest.param(22, marks=pytest.mark.thorough)])
def major(request: pytest.FixtureRequest) -> int:
    number: int = request.param
    ensure(f"nodejs{number}.x")
    return number


def test_the_clients_of_the_sdk_can_be_required(deploy: Deploy, major: int) -> None:
    function = deploy(
        {"handler.js": REQUIRE}, Runtime=f"nodejs{major}.x", MemorySize=512, Timeout=90
    )
    assert len(CLIENTS) > 10
    assert function.invoke(CLIENTS).document == ["us-east-1", []]


def test_modules_import_the_sdk_and_layers_as_well(
    instance: Instance, deploy: Deploy, major: int
) -> None:
    layer = {name.format(major=major): text for name, text in LAYER.items()}
    arn = instance.client.publish_layer_version(
        LayerName="modules", Content={"ZipFile": package(layer)}
    )["LayerVersionArn"]
    function = deploy(
        {"handler.mjs": IMPORT, "node_modules/own/index.js": "module.exports = 'code';"},
        Runtime=f"nodejs{major}.x",
        Layers=[arn],
        MemorySize=512,
        Timeout=90,
    )
    told = ["us-east-1", "code", "layer", "major", "ERR_MODULE_NOT_FOUND", "function"]
    assert function.invoke(CLIENTS).document == told


@pytest.mark.thorough
def test_nodejs_20_can_require_it_too(deploy: Deploy) -> None:
    ensure("nodejs20.x")
    function = deploy({"handler.js": REQUIRE}, Runtime="nodejs20.x", MemorySize=512)
    assert function.invoke(CLIENTS).document == ["us-east-1", []]
