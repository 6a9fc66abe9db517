"""Numbers that people gave images, several in a row of a file, as RATINGS. Knows no file."""

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa

from ranking.ingest.raw import ratings


def interleaved(arrays: Sequence[pa.Array]) -> pa.Array:
    """The first elements of all arrays, then the second ones, and so on; all are equally long."""
    places = np.arange(sum(len(array) for array in arrays)).reshape(len(arrays), -1)
    return pa.concat_arrays(list(arrays)).take(pa.array(places.T.ravel()))


def rated(rows: pa.Array, uids: pa.Array, prompts: pa.Array, values: Mapping[str, pa.Array]) -> pa.RecordBatch:
    """RATINGS of one image a row, under each of the names; what is null was not rated and is left out."""
    given = interleaved(list(values.values()))
    spread = pa.array(np.repeat(np.arange(len(rows)), len(values)))
    names = pa.array(list(values), pa.string()).take(pa.array(np.tile(np.arange(len(values)), len(rows))))
    columns = {
        "row": rows.take(spread),
        "image_uid": uids.take(spread),
        "prompt": prompts.take(spread),
        "name": names,
        "value": given,
    }
    present = given.is_valid()
    return ratings({name: column.filter(present) for name, column in columns.items()})
