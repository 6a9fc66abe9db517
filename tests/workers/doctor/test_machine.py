"""What a machine has, read from files as Linux writes them; services that answer and that do not."""

from pathlib import Path

import pytest

from ranking.settings import load_settings
from workers.doctor import devices
from workers.doctor.machine import Memory, disk_free, main_memory, services, versions

GB = 1 << 30


def system(tmp_path: Path, *, limit: str, taken: int, inactive: int) -> tuple[Path, Path]:
    meminfo = tmp_path / "meminfo"
    meminfo.write_text(f"MemTotal: {16 * GB >> 10} kB\nMemFree: 1 kB\nMemAvailable: {12 * GB >> 10} kB\n")
    group = tmp_path / "cgroup"
    group.mkdir()
    (group / "memory.max").write_text(limit)
    (group / "memory.current").write_text(str(taken))
    (group / "memory.stat").write_text(f"anon 5\ninactive_file {inactive}\n")
    return meminfo, group


def test_memory_is_what_is_available_not_what_is_free(tmp_path: Path) -> None:
    assert main_memory(*system(tmp_path, limit="max\n", taken=0, inactive=0)) == Memory(16 * GB, 12 * GB)


def test_in_a_container_memory_is_its_limit_less_what_does_not_give_way(tmp_path: Path) -> None:
    found = main_memory(*system(tmp_path, limit=f"{8 * GB}\n", taken=7 * GB, inactive=4 * GB))
    assert found == Memory(8 * GB, 5 * GB)


def test_a_limit_above_the_machine_is_none(tmp_path: Path) -> None:
    assert main_memory(*system(tmp_path, limit=f"{64 * GB}\n", taken=1, inactive=0)) == Memory(16 * GB, 12 * GB)


def test_this_machine_says_how_much_it_has() -> None:
    found = main_memory()
    assert found.total is not None and found.total > GB / 2


def test_the_disk_of_a_folder_that_is_not_there_yet_is_that_of_its_parent(tmp_path: Path) -> None:
    assert disk_free(tmp_path / "a" / "b") == pytest.approx(disk_free(tmp_path), rel=0.1)


def test_versions_are_those_of_the_packages() -> None:
    import torch

    assert versions()["torch"] == torch.__version__.partition("+")[0] or versions()["torch"] == torch.__version__


def test_a_store_that_is_not_there_is_not_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAIRSIEVE_STORE", str(tmp_path / "none"))
    store, broker = services(load_settings())
    assert store.ok and "none yet" in store.what
    assert broker.ok and "none set" in broker.what
    assert not (tmp_path / "none").exists()


def test_a_broker_that_does_not_answer_is_a_line_without_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAIRSIEVE_BROKER", "redis://:secret@127.0.0.1:9/0")
    _, broker = services(load_settings())
    assert not broker.ok
    assert "does not answer" in broker.what and "secret" not in broker.what and "\n" not in broker.what


@pytest.mark.redis
def test_a_broker_that_answers_says_what_it_is(redis_server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAIRSIEVE_BROKER", redis_server)
    _, broker = services(load_settings())
    assert broker.ok and "Redis" in broker.what and "answers" in broker.what


def test_a_store_that_is_no_folder_is_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "store").write_text("a file")
    monkeypatch.setenv("PAIRSIEVE_STORE", str(tmp_path / "store"))
    store = services(load_settings())[0]
    assert not store.ok and str(tmp_path / "store") in store.what and "\n" not in store.what


@pytest.mark.parametrize(
    ("capability", "advice"), [((9, 0), "bf16"), ((8, 0), "bf16"), ((7, 5), "fp16"), ((6, 1), "fp32")]
)
def test_a_gpu_is_advised_what_its_matrix_units_take(capability: tuple[int, int], advice: str) -> None:
    assert devices.advised_cuda(capability)[0] == advice


@pytest.mark.parametrize(("flags", "advice"), [({"amx_bf16"}, "bf16"), ({"avx512_bf16"}, "bf16"), ({"avx2"}, "fp32")])
def test_a_processor_is_advised_what_it_has_instructions_for(flags: set[str], advice: str) -> None:
    assert devices.advised_cpu(frozenset(flags))[0] == advice


def test_one_block_times_its_layers_is_the_published_cost_of_the_tower() -> None:
    # open_clip's docs/model_profile.csv: 162.0 GFLOPs for ViT-L/14's image tower, which has 24 blocks.
    assert abs(24 * devices.GFLOP_PER_IMAGE - 162.0) < 1


def test_the_speed_of_this_machine_is_measured() -> None:
    assert 0.1 < devices.giga_flops("cpu", "fp32", seconds=0) < 100_000
