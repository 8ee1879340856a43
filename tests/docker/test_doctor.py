"""`fnbox doctor` beside a real engine."""

from __future__ import annotations

import json
import subprocess

from tests.support.instance import Instance, docker


def test_it_tells_what_the_engine_says_of_itself_and_that_fnbox_runs(instance: Instance) -> None:
    done = subprocess.run(
        Instance.command("doctor", "--json"),
        env=instance.variables,
        cwd=instance.log_path.parent,
        capture_output=True,
        text=True,
        timeout=60,
    )
    found = {finding["name"]: finding for finding in json.loads(done.stdout)}
    engine = json.loads(docker("info", "--format", "{{json .}}"))
    assert found["Docker Engine"]["found"].startswith(engine["ServerVersion"])
    assert f"version {engine['CgroupVersion']}" in found["cgroups"]["found"]
    assert found["storage driver"]["found"] == engine["Driver"]
    assert found["seccomp"]["state"] == "ok"
    assert (found["gVisor"]["found"] == "runsc") == ("runsc" in engine["Runtimes"])
    assert found["port"]["follows"] == "fnbox answers"
    problems = [finding for finding in found.values() if finding["state"] == "problem"]
    assert done.returncode == bool(problems)
