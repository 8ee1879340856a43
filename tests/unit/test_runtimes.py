from __future__ import annotations

import pytest

from sandbox.engines.base import Image
from sandbox.environments.runtimes import RuntimeImages, aws_image, nearest
from sandbox.errors import ImageMissing

BUILDABLE = ("python3.11", "python3.13", "nodejs20.x", "nodejs24.x", "provided.al2", "java21")


def images(*here: str, substitutes: bool = True, **named: str) -> RuntimeImages:
    def look_up(reference: str) -> Image:
        if reference not in here:
            raise ImageMissing(f"no image {reference}")
        return Image(reference, (), (), "", ())

    names = {runtime.replace("_", "."): image for runtime, image in named.items()}
    return RuntimeImages(look_up, named=names, buildable=BUILDABLE, substitutes=substitutes)


def test_our_own_image_of_a_runtime_runs_it() -> None:
    found = images("fnbox/python3.13:latest").find("python3.13")
    assert (found.image.id, found.substitute) == ("fnbox/python3.13:latest", None)


def test_an_image_that_is_named_goes_before_every_other() -> None:
    found = images("mine:1", "fnbox/python3.13:latest", python3_13="mine:1").find("python3.13")
    assert found.image.id == "mine:1"


def test_an_image_that_is_named_and_missing_is_not_replaced() -> None:
    with pytest.raises(ImageMissing, match="the image mine:1 is missing"):
        images("fnbox/python3.13:latest", python3_13="mine:1").find("python3.13")


def test_awss_image_runs_what_we_make_no_image_of() -> None:
    found = images("public.ecr.aws/lambda/python:3.12", "fnbox/python3.13:latest").find(
        "python3.12"
    )
    assert (found.image.id, found.substitute) == ("public.ecr.aws/lambda/python:3.12", None)


def test_else_the_nearest_version_that_is_here_runs_it() -> None:
    found = images("fnbox/python3.11:latest").find("python3.12")
    assert (found.image.id, found.substitute) == ("fnbox/python3.11:latest", "python3.11")


def test_unless_that_is_switched_off() -> None:
    with pytest.raises(ImageMissing, match=r"docker pull public.ecr.aws/lambda/python:3.12"):
        images("fnbox/python3.11:latest", substitutes=False).find("python3.12")


def test_what_can_be_built_has_no_substitute() -> None:
    with pytest.raises(ImageMissing, match=r"run `fnbox images build nodejs20.x`"):
        images("fnbox/nodejs24.x:latest").find("nodejs20.x")


def test_another_language_is_no_substitute() -> None:
    with pytest.raises(ImageMissing, match="fnbox makes no image of it; `docker pull"):
        images("fnbox/python3.13:latest").find("dotnet10")


@pytest.mark.parametrize(
    ("runtime", "order"),
    [
        ("python3.12", ["python3.13", "python3.11"]),
        ("python3.14", ["python3.13", "python3.11"]),
        ("python3.9", ["python3.11", "python3.13"]),
        ("nodejs22.x", ["nodejs24.x", "nodejs20.x"]),
        ("java17.al2023", ["java21"]),
        ("provided.al2023", []),
        ("dotnet8", []),
    ],
)
def test_the_nearest_version_comes_first_and_the_newer_of_two(
    runtime: str, order: list[str]
) -> None:
    assert nearest(runtime, BUILDABLE) == order


@pytest.mark.parametrize(
    ("runtime", "image"),
    [
        ("python3.12", "python:3.12"),
        ("nodejs22.x", "nodejs:22"),
        ("java17.al2023", "java:17.al2023"),
        ("java8.al2", "java:8.al2"),
        ("ruby3.4", "ruby:3.4"),
        ("dotnet10", "dotnet:10"),
    ],
)
def test_awss_base_images_have_the_runtimes_version_as_their_tag(runtime: str, image: str) -> None:
    assert aws_image(runtime) == f"public.ecr.aws/lambda/{image}"


def test_a_runtime_of_ones_own_has_no_base_image_by_version() -> None:
    assert aws_image("provided.al2023") is None
