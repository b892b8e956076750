"""What the release workflow builds and publishes; it runs on GitHub only."""

import re

import yaml

from tests.support.processes import ROOT

WORKFLOW = yaml.safe_load((ROOT / ".github/workflows/release.yml").read_text(encoding="utf-8"))
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
JOBS = WORKFLOW["jobs"]


def step(job: str, action: str) -> dict:
    [found] = [one for one in JOBS[job]["steps"] if one.get("uses", "").startswith(f"{action}@")]
    return found.get("with", {})


def test_images_are_built_for_both_processors_and_for_cuda_with_sbom_and_provenance():
    variants = {
        one["variant"]: one["platforms"] for one in JOBS["images"]["strategy"]["matrix"]["include"]
    }
    assert variants == {"cpu": "linux/amd64,linux/arm64", "cuda": "linux/amd64"}
    built = step("images", "docker/build-push-action")
    assert built["sbom"] is True
    assert built["provenance"] == "mode=max"


def test_the_build_arguments_of_the_workflow_are_those_of_the_dockerfile():
    given = set(
        re.findall(r"^(\w+)=", step("images", "docker/build-push-action")["build-args"], re.M)
    )
    assert given <= set(re.findall(r"^ARG (\w+)", DOCKERFILE, re.MULTILINE))
    labels = set(re.findall(r"org\.opencontainers\.image\.([\w.]+)=", DOCKERFILE))
    assert labels >= {
        "title",
        "description",
        "licenses",
        "version",
        "revision",
        "source",
        "created",
    }


def test_no_job_has_more_rights_than_it_needs_and_none_has_a_password():
    assert WORKFLOW["permissions"] == {"contents": "read"}
    assert JOBS["pypi"]["permissions"] == {"id-token": "write"}
    assert "password" not in step("pypi", "pypa/gh-action-pypi-publish")


def test_the_dockerfile_needs_no_frontend_from_docker_hub():
    assert "# syntax=" not in DOCKERFILE
