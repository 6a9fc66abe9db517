"""What a slice's report says: shares, rates, and which stage holds the others up."""

import pytest

from workers.engine.report import SliceReport, bottleneck, stages_of


def report(**seconds: float) -> SliceReport:
    times = {"read": 0.5, "decode": 8.0, "infer": 9.0, "write": 0.1, "wait": 1.0} | seconds
    failed = {"a@0000000000aa": {"corrupt": 2}, "b@0000000000bb": {"corrupt": 2, "non_finite": 1}}
    return SliceReport("unit", 120, 100, failed, ("a@0000000000aa",), (), times, 10.0, decoders=4)


def test_a_stage_has_the_rate_of_its_work_and_its_share_of_the_time() -> None:
    stages = {stage.name: stage for stage in stages_of([report(), report(infer=11.0)], elapsed=20.0)}
    assert stages["read"].rate == pytest.approx(200) and stages["read"].share == pytest.approx(0.05)
    assert stages["decode"].rate == pytest.approx(50)  # 200 images in 16 s of four processes: 4 s of all
    assert stages["decode"].share == pytest.approx(0.2)
    assert stages["infer"].rate == pytest.approx(10) and stages["infer"].share == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("seconds", "advice"),
    [
        ({"infer": 9.9}, "inference: take a faster device"),
        ({"infer": 3.0, "decode": 39.0}, "decoding: add processors"),
        ({"infer": 3.0, "read": 9.5}, "reading the sources"),
        ({"infer": 3.0, "write": 9.5}, "writing to the store"),
    ],
)
def test_the_busiest_stage_is_named_with_what_would_help(seconds: dict[str, float], advice: str) -> None:
    assert bottleneck(stages_of([report(**seconds)])).startswith(advice)


def test_a_job_too_small_to_keep_any_stage_busy_is_held_up_by_none() -> None:
    assert bottleneck(stages_of([report(infer=1.0, decode=2.0)])).startswith("nothing: infer was the busiest, 10%")


def test_the_line_counts_what_failed_once_for_all_scorers() -> None:
    line = report().line()
    assert "120 items (100 images)" in line and ", 2 corrupt, 1 non_finite" in line
    assert "decode 50/s 20%" in line and "infer 11/s 90%" in line
