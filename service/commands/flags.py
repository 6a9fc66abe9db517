"""`pairsieve flags …`: what people say against pairs, and take-downs of images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.commands.options import Json, open_store

if TYPE_CHECKING:
    from ranking.store.blobs import Store

By = Annotated[str | None, typer.Option(help="Who says so; your name on this machine if not given.")]
DatasetOption = Annotated[str | None, typer.Option(help="Dataset; the first that has it if not given.")]
NEXT = "pairsieve snapshot create, from which on it counts"


def register(app: typer.Typer) -> None:
    group = typer.Typer(
        no_args_is_help=True,
        help="Marks against pairs (wrong_label, both_bad, unsafe, duplicate), and take-downs of images.",
    )
    group.command("add")(add)
    group.command("withdraw")(withdraw)
    group.command("list")(list_all)
    group.command("show")(show)
    group.command("import")(import_)
    group.command("export")(export)
    group.command("take-down")(take_down)
    app.add_typer(group, name="flags")


def add(
    pair: Annotated[str, typer.Argument(help="Id of the pair.", show_default=False)],
    kind: Annotated[str, typer.Option(help="wrong_label, both_bad, unsafe or duplicate.", show_default=False)],
    why: Annotated[str, typer.Option(help="A note: what is wrong with it.", show_default=False)] = "",
    by: By = None,
    dataset: DatasetOption = None,
    json: Json = False,
) -> None:
    """Mark a pair. The same mark by the same person is one, however often it is said."""
    from ranking.flags.marking import add_mark
    from service.console import print_facts, print_json

    mark, new = add_mark(open_store(), pair, kind=kind, by=_who(by), why=why, door="cli", dataset=dataset)
    facts: dict[str, Any] = {
        "id": mark.id,
        "dataset": mark.dataset,
        "pair": mark.pair_id,
        "kind": mark.kind,
        "by": mark.by,
    }
    facts |= {"when": mark.created, "why": mark.why or "–", "new": new}
    if json:
        print_json(facts)
    else:
        print_facts(facts | ({"next": NEXT} if new else {}))


def withdraw(
    flag: Annotated[str, typer.Argument(help="Id of a mark, a batch or a take-down.", show_default=False)],
    why: Annotated[str, typer.Option(help="A note: why it was wrong.", show_default=False)] = "",
    by: By = None,
    json: Json = False,
) -> None:
    """Withdraw a mark, all marks of an import, or a take-down, by one more record: nothing is deleted."""
    from ranking.flags.withdrawing import withdraw_flag
    from service.console import print_facts, print_json

    record, new = withdraw_flag(open_store(), flag, by=_who(by), why=why, door="cli")
    facts: dict[str, Any] = {
        "withdrawn": record.of,
        "what": "take-down" if record.dataset is None else "mark",
        "by": record.by,
    }
    facts |= {"when": record.created, "why": record.why or "–", "new": new}
    if json:
        print_json(facts)
    else:
        print_facts(facts | ({"next": NEXT} if new else {}))


def list_all(
    dataset: Annotated[str | None, typer.Option(help="Of this dataset only.")] = None,
    pair: Annotated[str | None, typer.Option(help="Of this pair only.")] = None,
    kind: Annotated[str | None, typer.Option(help="Of this kind only.")] = None,
    by: Annotated[str | None, typer.Option(help="By this person only.")] = None,
    withdrawn: Annotated[bool, typer.Option(help="What was withdrawn, too.")] = False,
    limit: Annotated[int, typer.Option(min=1, help="Marks to show.")] = 50,
    json: Json = False,
) -> None:
    """List marks, newest first, and take-downs."""
    from service.console import print_facts, print_json, print_table, say

    store = open_store()
    marks, total = _marks(store, dataset, pair=pair, kind=kind, by=by, withdrawn=withdrawn, limit=limit)
    takedowns = [] if pair or kind else [row for row in _takedowns(store, withdrawn) if by in (None, row["by"])]
    if json:
        print_json({"marks": marks, "total": total, "takedowns": takedowns})
        return
    if not total and not takedowns:
        print_facts({"flags": "none"})
    if marks:
        columns = ["id", "pair_id", "kind", "by", "created", "why", *(["withdrawn"] if withdrawn else [])]
        if len({row["dataset"] for row in marks}) > 1:
            columns.insert(1, "dataset")
        rows = [[_short(name, row[name]) for name in columns] for row in marks]
        print_table("marks, newest first", columns, rows)
        if total > len(marks):
            say(f"{total - len(marks):,} more; see --limit, or `flags export`")
    if takedowns:
        columns = ["id", "dataset", "uid", "sha256", "by", "created", "why", *(["withdrawn"] if withdrawn else [])]
        print_table("take-downs", columns, [[_short(name, row[name]) for name in columns] for row in takedowns])


def show(
    flag: Annotated[str, typer.Argument(help="Id of a mark, a batch or a take-down.", show_default=False)],
    json: Json = False,
) -> None:
    """Show one flag with all that is known of it."""
    from ranking.flags.withdrawing import find_flag
    from service.console import print_facts, print_json

    found = find_flag(open_store(), flag)
    if json:
        print_json(found)
    else:
        print_facts({name: "–" if value in (None, "") else value for name, value in found.items()})


def import_(
    file: Annotated[Path, typer.Argument(help="CSV, JSON lines or Parquet.", show_default=False)],
    dataset: Annotated[str, typer.Option(help="Dataset of the pairs.", show_default=False)],
    kind: Annotated[str | None, typer.Option(help="Kind of every mark, where the file has no column kind.")] = None,
    why: Annotated[str, typer.Option(help="A note on all of them.", show_default=False)] = "",
    by: By = None,
    json: Json = False,
) -> None:
    """Mark many pairs by one record: columns pair_id, kind and, where known, by and why. The same file twice adds
    nothing; `flags withdraw` with the id of the batch takes all of it back."""
    from ranking.flags.files import read_marks
    from ranking.flags.marking import add_marks
    from service.console import print_facts, print_json

    store = open_store()
    marked = add_marks(store, dataset, read_marks(file, kind=kind), by=_who(by), why=why, door="import")
    facts: dict[str, Any] = {"batch": marked.batch.id if marked.batch else None, "dataset": dataset}
    facts |= {"new": marked.new, "stood already": marked.known}
    if json:
        print_json({"batch": facts["batch"], "dataset": dataset, "new": marked.new, "known": marked.known})
    else:
        print_facts(facts | ({"next": NEXT} if marked.new else {}))


def export(
    to: Annotated[Path, typer.Argument(help="A new file: .csv, .jsonl or .parquet.", show_default=False)],
    dataset: Annotated[str, typer.Option(help="Dataset of the pairs.", show_default=False)],
    withdrawn: Annotated[bool, typer.Option(help="What was withdrawn, too.")] = False,
    json: Json = False,
) -> None:
    """Write the marks of a dataset as a table, which `flags import` reads."""
    from ranking.datasets import get_dataset
    from ranking.flags.book import history, read_book, standing
    from ranking.flags.files import write_marks
    from service.console import print_facts, print_json

    store = open_store()
    book = read_book(store, get_dataset(store, dataset).name)
    table = history(store, book) if withdrawn else standing(store, book)
    write_marks(table, to)
    facts = {"file": str(to), "marks": table.num_rows}
    if json:
        print_json(facts)
    else:
        print_facts(facts)


def take_down(
    reason: Annotated[str, typer.Option(help="Why nobody may see it.", show_default=False)],
    uid: Annotated[str | None, typer.Argument(help="Uid of the image.", show_default=False)] = None,
    sha256: Annotated[str | None, typer.Option(help="SHA-256 of its bytes, instead of a uid.")] = None,
    dataset: DatasetOption = None,
    by: By = None,
    json: Json = False,
) -> None:
    """Take an image down, and every image with the same bytes: no page, snapshot, export, training or thumbnail has it
    from now on. The files it was ingested from stay as they are."""
    from ranking.flags.taking import take_down as take
    from ranking.images.fetch import url_fetcher
    from ranking.settings import load_settings
    from service.console import print_facts, print_json

    done = take(
        open_store(),
        uid,
        sha256=sha256,
        dataset=dataset,
        by=_who(by),
        why=reason,
        door="cli",
        fetch=url_fetcher(load_settings()),
    )
    if json:
        print_json(
            {"id": done.record.id, "new": done.new, "record": done.record, "images": done.images}
            | {"pairs": done.pairs, "packs": done.packs}
        )
        return
    images = [f"{name}: {', '.join(uids[:3])}{' …' if len(uids) > 3 else ''}" for name, uids in done.images.items()]
    print_facts(
        {
            "id": done.record.id,
            "images": "; ".join(images) or "none here yet",
            "pairs with one": sum(done.pairs.values()),
            "sha256": done.record.sha256 or "not known: copies under other names are not",
            "thumbnails": f"{done.packs} packs made anew",
            "new": done.new,
            "next": "pairsieve snapshot create, which leaves its pairs out; the source files are yours to clean",
        }
    )


def _marks(
    store: Store,
    dataset: str | None,
    *,
    pair: str | None,
    kind: str | None,
    by: str | None,
    withdrawn: bool,
    limit: int,
) -> tuple[list[dict[str, Any]], int]:
    """The newest marks that fit, each with its dataset, and how many there are."""
    from ranking.flags.listing import list_marks

    found = list_marks(store, dataset=dataset, pair=pair, kind=kind, by=by, withdrawn=withdrawn)
    return found.slice(0, limit).to_pylist(), found.num_rows


def _takedowns(store: Store, withdrawn: bool) -> list[dict[str, Any]]:
    from ranking.flags.listing import list_takedowns

    return [row for row in list_takedowns(store) if withdrawn or row["withdrawn"] is None]


def _who(by: str | None) -> str:
    from ranking.flags.words import this_person

    return by if by is not None else this_person()


def _short(name: str, value: Any) -> str:
    text = "–" if value in (None, "") else str(value)
    return text[:10] if name in ("created", "withdrawn") else text[:12] if name == "sha256" else text
