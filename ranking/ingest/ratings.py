"""From staged ratings to those of images that a dataset has, in SQL. Does not judge what a rating is worth."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import duckdb
import pyarrow as pa

from ranking import duck
from ranking.schema import RATED

_OUTPUT_ROWS = 65_536

# An image is told apart by 128 bits; a rating by everything that it says.
_TABLES = """
CREATE TABLE known AS SELECT DISTINCT md5_number(image_uid) AS image FROM {items};
CREATE VIEW given AS
SELECT image_uid, substr(sha256(prompt), 1, 16) AS prompt_id, name, value, (ordinal::BIGINT << 36) + position AS place,
    md5_number(image_uid) AS image
FROM {staged} WHERE reason IS NULL;
CREATE TABLE kept AS
SELECT image_uid, prompt_id, name, value, min(place) AS place
FROM given SEMI JOIN known USING (image)
GROUP BY ALL;
DELETE FROM kept USING {earlier} earlier
WHERE kept.image_uid = earlier.image_uid AND kept.prompt_id IS NOT DISTINCT FROM earlier.prompt_id
    AND kept.name = earlier.name AND kept.value = earlier.value;
"""


class Rated:
    """The new ratings of images that the dataset has: `unknown` were of other images, `duplicates` were there before or
    came twice (one image, prompt, name and value)."""

    def __init__(
        self,
        con: duckdb.DuckDBPyConnection,
        staged: Sequence[Path],
        *,
        items: Sequence[Path],
        earlier: Sequence[Path],
    ) -> None:
        self._con = con
        nothing = "(SELECT NULL::VARCHAR image_uid, NULL::VARCHAR prompt_id, NULL::VARCHAR name, NULL::DOUBLE value)"
        con.execute(
            _TABLES.format(
                items=duck.parquet_scan(items),
                staged=duck.parquet_scan(staged),
                earlier=duck.parquet_scan(earlier) if earlier else nothing,
            )
        )
        given, known, kept = con.sql(
            "SELECT (SELECT count(*) FROM given), (SELECT count(*) FROM given SEMI JOIN known USING (image)), "
            "(SELECT count(*) FROM kept)"
        ).fetchall()[0]
        self.unknown = int(given) - int(known)
        self.duplicates = int(known) - int(kept)
        self.rows = int(kept)

    def ratings(self) -> Iterator[pa.RecordBatch]:
        """The new ratings (RATED schema) in the order of the sources."""
        query = "SELECT image_uid, prompt_id, name, value FROM kept ORDER BY place"
        for batch in self._con.sql(query).to_arrow_reader(_OUTPUT_ROWS):
            yield batch.cast(RATED)
