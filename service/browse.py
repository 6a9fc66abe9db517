"""One listing of pairs: what is asked for (dataset, filters, sort), the page of it, and where that page
stands. The API and the dashboard share it, so that their filters cannot drift apart."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pyarrow as pa

from ranking import duck
from ranking.errors import UsageError
from ranking.features.fields import Field
from ranking.query import FilterNode, compile_filter, fields_in, known_column, page, parse_filter, parse_url_filters
from service.cursors import sign, verify
from service.problems import ApiProblem, Invalid
from service.snapshots import Table, View

MAX_FILTERS = 32


@dataclass(frozen=True)
class Listing:
    """A question about one dataset's pairs in one view. `filters` are the URL's `field__op=value` pairs in
    order, `tree` is the filter of a body."""

    view: View
    table: Table
    filters: tuple[tuple[str, str], ...]
    where: FilterNode | None
    sort: str
    descending: bool
    tree: Any = None

    @property
    def fields(self) -> tuple[str, ...]:
        """The fields that it names, each once."""
        return tuple(dict.fromkeys([self.sort, *fields_in(self.where)]))

    def relation(self, *more: str) -> str:
        """SQL for a FROM clause with the table's columns, the fields that it names, and `more`; ApiProblem not-computed
        where one of them is still being computed."""
        return self.table.beside.relation([*self.fields, *more])

    @property
    def order(self) -> str:
        """The sort as the URL has it: field or -field."""
        return f"-{self.sort}" if self.descending else self.sort

    @property
    def identity(self) -> dict[str, Any]:
        """What a cursor is bound to."""
        snapshot = self.view.snapshot
        return {
            "of": "pairs",
            "snapshot": snapshot.sha if snapshot else None,
            "dataset": self.table.dataset,
            "filters": sorted(map(list, self.filters)),
            "where": self.tree,
            "sort": self.order,
        }


@dataclass(frozen=True)
class ListingPage:
    """Rows of a listing (all columns of the wide table), the next page's cursor, and how many match in
    all."""

    rows: pa.Table
    next: str | None
    total: int


def parse_listing(view: View, table: Table, *, filters: Iterable[tuple[str, str]], sort: str | None) -> Listing:
    """The listing that a URL asks for; ApiProblem invalid-parameter that points to what does not fit."""
    wanted = tuple(filters)
    if len(wanted) > MAX_FILTERS:
        raise ApiProblem("invalid-parameter", f"There are more than {MAX_FILTERS} filters.")
    for name, text in wanted:
        try:  # one by one, so that the answer can point to the one that does not fit
            compile_filter(parse_url_filters([(name, text)], table.columns), table.columns)
        except UsageError as error:
            raise _invalid(f"query/{name}", error) from error
    field, descending = _order(sort, table, where="query/sort")
    return Listing(view, table, wanted, parse_url_filters(wanted, table.columns), field, descending)


def parse_search(view: View, table: Table, *, where: Any, sort: str | None) -> Listing:
    """The listing of a filter tree (`ranking.query`); ApiProblem invalid-parameter that points to what does not fit."""
    try:
        node = parse_filter(where) if where is not None else None
        compile_filter(node, table.columns)
    except UsageError as error:
        raise _invalid("body/where", error) from error
    field, descending = _order(sort, table, where="body/sort")
    tree = node.model_dump(mode="json", by_alias=True) if node is not None else None
    return Listing(view, table, (), node, field, descending, tree)


def _order(sort: str | None, table: Table, *, where: str) -> tuple[str, bool]:
    descending = (sort or "").startswith("-")
    field = (sort or "pair_id").removeprefix("-")
    try:
        known_column(field, table.columns)
    except UsageError as error:
        raise _invalid(where, error) from error
    return field, descending


def read_page(listing: Listing, *, key: bytes, cursor: str | None, limit: int) -> ListingPage:
    """The page that begins after `cursor` (None: the first); ApiProblem cursor-mismatch."""
    after = _position(verify(key, listing.identity, cursor)) if cursor is not None else None
    with listing.view.cursor() as con:
        found = page(
            con,
            listing.relation(),
            columns=listing.table.columns,
            filter=listing.where,
            sort=listing.sort,
            descending=listing.descending,
            after=after,
            limit=limit,
        )
    following = _sign_after(listing, key, found.next_after) if found.next_after else None
    return ListingPage(found.rows, following, count(listing))


def count(listing: Listing) -> int:
    """How many pairs match."""
    condition, params = compile_filter(listing.where, listing.table.columns)
    with listing.view.cursor() as con:
        found = duck.arrow(con, f"SELECT count(*) AS n FROM {listing.relation()} WHERE {condition}", params)
    return int(found["n"][0].as_py())


def rows_before(listing: Listing, row: dict[str, Any]) -> int:
    """How many matching pairs stand before `row`, one of the listing's own."""
    condition, params = compile_filter(listing.where, listing.table.columns)
    key = duck.identifier(listing.sort)
    value, pair_id = row[listing.sort], row["pair_id"]
    if value is None:
        before, more = f"({key} IS NOT NULL OR ({key} IS NULL AND pair_id < ?))", [pair_id]
    else:
        sign_ = ">" if listing.descending else "<"
        before, more = f"({key} {sign_} ? OR ({key} = ? AND pair_id < ?))", [value, value, pair_id]
    with listing.view.cursor() as con:
        sql = f"SELECT count(*) AS n FROM {listing.relation()} WHERE {condition} AND {before}"
        found = duck.arrow(con, sql, [*params, *more])
    return int(found["n"][0].as_py())


def cursor_at(listing: Listing, *, key: bytes, offset: int) -> str | None:
    """The cursor of the page that begins with the matching pair number `offset`, counted from 0; None for the
    first."""
    if offset <= 0:
        return None
    condition, params = compile_filter(listing.where, listing.table.columns)
    column, relation = duck.identifier(listing.sort), listing.relation()
    direction = "DESC" if listing.descending else "ASC"
    rank = f"{listing.sort.removesuffix('.gap')}.rank"
    ranked = listing.where is None and listing.descending and listing.sort.endswith(".gap")
    with listing.view.cursor() as con:
        rows = []
        if ranked and rank in listing.table.columns:
            # The order is in the table, as far as there are gaps: no need to sort a million rows to find one.
            query = f"SELECT {column} AS value, pair_id FROM {relation} WHERE {duck.identifier(rank)} = ?"
            rows = duck.arrow(con, query, [offset]).to_pylist()
        rows = (
            rows
            or duck.arrow(
                con,
                f"SELECT {column} AS value, pair_id FROM {relation} WHERE {condition} "
                f"ORDER BY {column} {direction} NULLS LAST, pair_id ASC LIMIT 1 OFFSET {int(offset) - 1}",
                params,
            ).to_pylist()
        )
    return _sign_after(listing, key, (rows[0]["value"], rows[0]["pair_id"])) if rows else None


def find_pair(view: View, pair_id: str, *, dataset: str | None) -> tuple[Table, dict[str, Any]]:
    """The pair's row, with every field that needs no computing, and its table, in the named dataset or the first that
    has it; ApiProblem unknown-name."""
    named = view.dataset(dataset) if dataset is not None else None
    tables = [view.table(named)] if named is not None else list(view.tables.values())
    for table in tables:
        with view.cursor() as con:
            sql = f"SELECT 1 FROM {duck.identifier(table.relation)} WHERE pair_id = ?"
            if duck.arrow(con, sql, [pair_id]).num_rows:
                relation, _ = table.beside.known()
                return table, duck.arrow(con, f"SELECT * FROM {relation} WHERE pair_id = ?", [pair_id]).to_pylist()[0]
    raise ApiProblem("unknown-name", "No pair of the newest snapshot has this id; see /v1/pairs.")


def numeric_fields(columns: Iterable[Field]) -> list[Field]:
    """The fields that a histogram can show."""
    return [column for column in columns if column.kind == "number" and column.name not in ("source", "row")]


def _sign_after(listing: Listing, key: bytes, after: tuple[Any, str]) -> str:
    value, pair_id = after
    plain = value.isoformat() if isinstance(value, datetime) else value
    return sign(key, listing.identity, [plain, pair_id])


def _position(position: Any) -> tuple[Any, str]:
    value, pair_id = position
    return value, pair_id


def _invalid(pointer: str, error: UsageError) -> ApiProblem:
    return ApiProblem("invalid-parameter", str(error), errors=[Invalid(pointer=pointer, message=error.message)])
