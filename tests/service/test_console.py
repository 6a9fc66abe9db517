"""What the progress bar writes: counts of things, MB of bytes."""

from rich.progress import Progress
from rich.text import Text

from service.console import CountColumn, RateColumn


def shown(unit: str, done: int, total: int, seconds: float) -> list[str]:
    now = 0.0
    bar = Progress(get_time=lambda: now, auto_refresh=False)
    task = bar.add_task("reading", total=total, unit=unit)
    for step in range(1, 5):
        now = seconds * step / 4
        bar.update(task, completed=done * step // 4)
    texts = [column.render(bar.tasks[0]) for column in (CountColumn(), RateColumn())]
    assert all(isinstance(text, Text) for text in texts)
    return [text.plain for text in texts]


def test_bytes_read_as_megabytes_a_second() -> None:
    assert shown("bytes", 400_000_000, 1_600_000_000, seconds=4) == ["400/1,600 MB", "100.0 MB/s"]


def test_things_read_as_counts() -> None:
    assert shown("", 400, 1600, seconds=4) == [" 400/1600", "100/s"]
    assert shown("", 4, 9, seconds=4) == ["4/9", "1.0/s"]
