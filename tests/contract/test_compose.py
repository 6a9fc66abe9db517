"""docker-compose.yml and the Dockerfile, held against the command line and the settings they use."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.core import TyperGroup
from typer.main import get_command

from ranking.settings import Settings
from service.cli import app
from workers.celery_app import check_broker

ROOT = Path(__file__).parents[2]
SECRET = "PAIRSIEVE_REDIS_PASSWORD"


@pytest.fixture(scope="module")
def services() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    return found


def ours(services: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {name: service for name, service in services.items() if name != "redis"}


def test_it_has_what_a_cluster_needs(services: dict[str, dict[str, Any]]) -> None:
    assert {"api", "worker", "beat", "redis"} <= services.keys()
    assert all("healthcheck" in service for service in services.values())


def test_every_command_is_one_of_ours_with_options_that_exist(services: dict[str, dict[str, Any]]) -> None:
    group = get_command(app)
    assert isinstance(group, TyperGroup)
    for service in ours(services).values():
        name, *words = service["command"]
        known = {option for parameter in group.commands[name].params for option in parameter.opts}
        assert {word for word in words if word.startswith("--")} <= known
    assert [services[name]["command"][0] for name in ("api", "worker", "beat")] == ["serve", "worker", "beat"]


def test_every_variable_is_a_setting(services: dict[str, dict[str, Any]]) -> None:
    known = {f"PAIRSIEVE_{name}".upper() for name in Settings.model_fields}
    for service in ours(services).values():
        assert service["environment"].keys() <= known
        assert service["environment"]["PAIRSIEVE_STORE"] == "/data"


def test_redis_asks_for_a_password_keeps_what_it_has_and_is_not_published(
    services: dict[str, dict[str, Any]],
) -> None:
    redis = services["redis"]
    words = " ".join(redis["command"])
    assert f"--requirepass ${{{SECRET}:?" in words
    assert "--maxmemory-policy noeviction" in words and "--appendonly yes" in words
    assert "ports" not in redis
    for name in ("worker", "beat"):
        broker = services[name]["environment"]["PAIRSIEVE_BROKER"]
        assert f"${{{SECRET}:?" in broker
        check_broker(re.sub(r"\$\{[^}]*\}", "0123abcd", broker))  # refuses a Redis without a password


def test_no_secret_has_a_default_and_nothing_listens_beyond_this_machine(
    services: dict[str, dict[str, Any]],
) -> None:
    text = (ROOT / "docker-compose.yml").read_text()
    assert all(rest.startswith(":?") for rest in re.findall(rf"\$\{{{SECRET}([^}}]*)\}}", text))
    assert services["api"]["environment"]["PAIRSIEVE_HOST"] == "127.0.0.1"
    assert not any("ports" in service for service in services.values())


def test_every_volume_is_declared_and_the_store_is_one(services: dict[str, dict[str, Any]]) -> None:
    declared = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["volumes"].keys()
    for service in services.values():
        names = [volume.split(":")[0] for volume in service["volumes"] if volume[0].isalpha()]
        assert set(names) <= declared
    assert all("store:/data" in service["volumes"] for service in ours(services).values())


def test_health_checks_name_the_nodes_that_the_commands_start(services: dict[str, dict[str, Any]]) -> None:
    worker, beat = services["worker"], services["beat"]
    name = worker["command"][worker["command"].index("--name") + 1]
    assert f"--destination {name}@" in worker["healthcheck"]["test"][1]
    assert "--destination celerybeat@" in beat["healthcheck"]["test"][1]
    assert f":{services['api']['environment']['PAIRSIEVE_PORT']}/readyz" in services["api"]["healthcheck"]["test"][-1]


def test_the_image_copies_every_floor_and_does_not_run_as_root() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text()
    kept = (ROOT / ".dockerignore").read_text().split()
    for floor in ("ranking", "workers", "training", "service"):
        assert f"COPY {floor} {floor}" in dockerfile and f"!{floor}" in kept
    for line in re.findall(r"^COPY (?!--from)(.*) \S+$", dockerfile, re.MULTILINE):
        assert all((ROOT / name).exists() and f"!{name}" in kept for name in line.split())
    assert re.findall(r"^USER (\S+)$", dockerfile, re.MULTILINE)[-1] != "root"
    assert 'ENTRYPOINT ["pairsieve"]' in dockerfile
