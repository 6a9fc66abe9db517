"""A recipe that is put together step by step, and what it would take. Keeps nothing until a subset is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa

from ranking.errors import UsageError
from ranking.features.pairs import PairTable
from ranking.notebook.conditions import amount
from ranking.notebook.frames import Tabular
from ranking.subsets.recipe import Recipe, check_recipe, parse_recipe

if TYPE_CHECKING:
    from ranking.notebook.chosen import Chosen
    from ranking.notebook.look import Look
    from ranking.subsets.diversity import Progress
    from ranking.subsets.explain import Explanation

WITHOUT: Final[Mapping[str, Any]] = {"name": "preview", "take": {"percent": 100.0}}
"""What a recipe has for what it does not say yet."""


@dataclass(frozen=True, repr=False)
class Ranking(Tabular):
    """A recipe over one dataset and snapshot; `values` are its keys as in YAML. Immutable: each method gives another
    one, and a value that does not fit is an error at once. Without a take it takes all."""

    table: PairTable
    values: Mapping[str, Any]

    @property
    def recipe(self) -> Recipe:
        """The recipe, with every default."""
        return parse_recipe({**WITHOUT, **self.values})

    def top(self, much: str | float) -> Ranking:
        """Take the best: "5.33%" of the eligible pairs, or a count."""
        return self.having(take=amount(much))

    def bottom(self, much: str | float) -> Ranking:
        """Take the worst, as a control."""
        return self.having(take={**amount(much), "from": "bottom"})

    def above(self, threshold: float) -> Ranking:
        """Take all whose metric is at least the threshold."""
        return self.having(take={"threshold": float(threshold)})

    def per_prompt(self, most: int) -> Ranking:
        """At most so many pairs of a prompt."""
        return self.having(per_prompt={"max": most})

    def diversity(self, embedding: str, **options: Any) -> Ranking:
        """Re-rank so that what is taken is not all alike: `of`, `method`, `weight`, `neighbours` and `pool` as in
        recipes."""
        return self.having(diversity={"embedding": embedding, **options})

    def labels(self, policy: str | None = None, **kind: Any) -> Ranking:
        """Whose labels to believe: `labels("human")`, `labels(relabel="pickscore-v1")`, `labels(vote=[...])`,
        `labels(soft="label_confidence")`."""
        return self.having(labels=policy if policy is not None else kind)

    def seed(self, seed: int) -> Ranking:
        """Another seed."""
        return self.having(seed=seed)

    def having(self, **keys: Any) -> Ranking:
        """The same recipe with these keys: `balance`, `near_duplicates`, `weights`, `flags` and every other one."""
        return Ranking(self.table, {**self.values, **keys}).checked()

    def checked(self) -> Ranking:
        """Itself; UsageError or UnknownNameError where the recipe does not fit the dataset."""
        check_recipe(self.recipe, self.table)
        return self

    def to_arrow(self) -> pa.Table:
        """The pairs that are taken, best first, as a subset would have them (SUBSET_PAIRS); EmptySubsetError if there
        are none."""
        from ranking.subsets.select import selected_pairs

        return selected_pairs(self.table.store, self.table.snapshot, self.recipe, table=self.table)

    def preview(self, most: int | None = 20, *, progress: Progress | None = None) -> pa.Table:
        """The best eligible pairs and whether each is taken (RANKED), all of them with None."""
        from ranking.subsets.select import rank

        return rank(self.table.store, self.table.snapshot, self.recipe, limit=most, table=self.table, progress=progress)

    def explain(self, pair_id: str, *, progress: Progress | None = None) -> Explanation:
        """Why a pair is taken or not; NotFoundError for an unknown id."""
        from ranking.subsets.select import explain

        known = self.table
        return explain(known.store, known.snapshot, self.recipe, pair_id=pair_id, table=known, progress=progress)

    def look(self, most: int = 6) -> Look:
        """The best of what is taken to look at."""
        from ranking.notebook.look import look_at

        best = self.preview(most).to_pylist() if self._in_order() else self.to_arrow().slice(0, most).to_pylist()
        taken = [row["pair_id"] for row in best if row.get("taken", True)]
        return look_at(self.table, taken[:most])

    def subset(self, name: str | None = None, *, progress: Progress | None = None) -> Chosen:
        """Keep what is taken as an immutable subset NAME@VERSION, under the recipe's own name unless another is given;
        the existing one if it was made before."""
        from ranking.notebook.chosen import Chosen
        from ranking.subsets.select import create_subset

        if name is None and "name" not in self.values:
            raise UsageError("a subset needs a name", hint='subset("qsd-top5")')
        recipe = self.recipe if name is None else parse_recipe({**self.recipe.canonical(), "name": name})
        kept = create_subset(self.table.store, recipe, self.table.snapshot, table=self.table, progress=progress)
        return Chosen(self.table.store, kept)

    def _in_order(self) -> bool:
        """Whether the best pairs are the first to be taken."""
        recipe = self.recipe
        return not (recipe.per_prompt or recipe.balance or recipe.near_duplicates or recipe.diversity)

    def __repr__(self) -> str:
        return f"<Ranking, snapshot {self.table.snapshot.n}: {dict(self.values)}>"
