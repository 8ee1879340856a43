"""Where each language looks for what a layer brings; test_layers.py has the rest of them."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.images import compiled, ensure
from tests.support.instance import Function, Instance, package
from tests.support.probes import JAVA, NODEJS, PYTHON, RUBY

GEM = """
Gem::Specification.new do |gem|
  gem.name = 'gem'
  gem.version = '1.0'
  gem.summary = gem.authors = 'test'
end
"""
WHO_JAVA = """
package layer;

public class Who {
    public static final String WHO = "lib";
}
"""


class Layered:
    """Functions with layers, gone after the module."""

    def __init__(self, instance: Instance) -> None:
        self.instance = instance
        self.functions: list[Function] = []

    def deploy(
        self,
        runtime: str,
        code: dict[str, str | bytes],
        *layers: dict[str, str | bytes],
        handler: str = "handler.handler",
    ) -> Function:
        ensure(runtime)
        arns = [
            self.instance.client.publish_layer_version(
                LayerName=f"layer-{len(self.functions)}", Content={"ZipFile": package(layer)}
            )["LayerVersionArn"]
            for layer in layers
        ]
        function = self.instance.deploy(
            code, Runtime=runtime, Handler=handler, Layers=arns, MemorySize=256
        )
        self.functions.append(function)
        return function


@pytest.fixture(scope="module")
def layered(instance: Instance) -> Iterator[Layered]:
    made = Layered(instance)
    yield made
    for function in made.functions:
        function.delete()


@pytest.mark.parametrize(
    "runtime", ["python3.13", pytest.param("python3.11", marks=pytest.mark.thorough)]
)
def test_python_imports_from_its_versions_site_packages_and_then_from_python(
    layered: Layered, runtime: str
) -> None:
    function = layered.deploy(
        runtime,
        {"handler.py": PYTHON, "of_the_code.py": "WHO = 'code'"},
        {
            f"python/lib/{runtime}/site-packages/both.py": "WHO = 'site-packages'",
            f"python/lib/{runtime}/site-packages/of_the_code.py": "WHO = 'site-packages'",
            "python/both.py": "WHO = 'python'",
            "python/plain/__init__.py": "WHO = 'python'",
            "python/boto3.py": "WHO = 'my own boto3'",
        },
    )
    for name, place in (
        ("both", "site-packages"),
        ("plain", "python"),
        ("of_the_code", "code"),
        ("boto3", "my own boto3"),
    ):
        assert function.invoke({"load": name}).document == place


@pytest.mark.parametrize(
    "major", [24, *(pytest.param(major, marks=pytest.mark.thorough) for major in (22, 20))]
)
def test_nodejs_requires_from_its_majors_folder_and_then_from_everyones(
    layered: Layered, major: int
) -> None:
    def module(who: str) -> str:
        return f"exports.who = '{who}';"

    function = layered.deploy(
        f"nodejs{major}.x",
        {"handler.js": NODEJS, "node_modules/own/index.js": module("code")},
        {
            f"nodejs/node{major}/node_modules/both/index.js": module("major"),
            "nodejs/node_modules/both/index.js": module("everyone"),
            "nodejs/node_modules/plain.js": module("everyone"),
            "nodejs/node_modules/own.js": module("everyone"),
        },
    )
    for name, place in (("both", "major"), ("plain", "everyone"), ("own", "code")):
        assert function.invoke({"load": name}).document == place


def test_ruby_finds_gems_and_libraries(layered: Layered) -> None:
    function = layered.deploy(
        "ruby3.3",
        {"handler.rb": RUBY},
        {
            "ruby/gems/3.3.0/specifications/gem-1.0.gemspec": GEM,
            "ruby/gems/3.3.0/gems/gem-1.0/lib/packed.rb": "module Packed; WHO = 'gem'; end",
            "ruby/lib/plain.rb": "module Plain; WHO = 'lib'; end",
        },
    )
    for name, place in (("packed", "gem"), ("plain", "lib")):
        assert function.invoke({"load": name}).document == place


@pytest.mark.thorough
@pytest.mark.parametrize("runtime", ["java21", "java17"])
def test_java_has_a_layers_jars_on_its_class_path(
    layered: Layered, runtime: str, tmp_path: Path
) -> None:
    for folder in ("code", "layer"):
        (tmp_path / folder).mkdir()
    classes = compiled({"Who.java": WHO_JAVA}, tmp_path / "layer")
    jar = io.BytesIO()
    with zipfile.ZipFile(jar, "w") as archive:
        for name, content in classes.items():
            archive.writestr(name, content)
    function = layered.deploy(
        runtime,
        compiled({"Handler.java": JAVA}, tmp_path / "code"),
        {"java/lib/who.jar": jar.getvalue()},
        handler="example.Handler::handle",
    )
    assert function.invoke({"load": "layer.Who"}).document == "lib"


def test_programs_and_shared_libraries_are_found(layered: Layered, tmp_path: Path) -> None:
    library = compiled({"library.c": "int own(void) { return 42; }"}, tmp_path)
    function = layered.deploy(
        "python3.13",
        {
            "handler.py": "import ctypes, subprocess\n"
            "def handler(event, context):\n"
            "    greeting = subprocess.check_output(['greet'], text=True)\n"
            "    return [ctypes.CDLL('libown.so').own(), greeting]"
        },
        {"lib/libown.so": library["libown.so"], "bin/greet": "#!/bin/sh\necho hello"},
    )
    assert function.invoke().document == [42, "hello\n"]
