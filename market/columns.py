"""Arrow columns as numpy arrays and back, without copies, floats or Python rows."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Int64s = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Codes = npt.NDArray[np.integer[Any]]

_NUMPY = {pa.int8(): np.int8, pa.int32(): np.int32, pa.int64(): np.int64}


def values(column: pa.Array) -> npt.NDArray[Any]:
    """The integers of a column, zero-copy; slots that are null hold anything (ask `valid`)."""
    dtype = np.dtype(_NUMPY[column.type])
    data = column.buffers()[1]
    if data is None:  # no row at all
        return np.empty(0, dtype)
    return np.frombuffer(data, dtype, count=len(column), offset=column.offset * dtype.itemsize)


def valid(column: pa.Array) -> Bools | None:
    """True where a column is not null; None when all of it is."""
    if column.null_count == 0:
        return None
    mask: Bools = column.is_valid().to_numpy(zero_copy_only=False)
    return mask


def codes(column: pa.DictionaryArray) -> Codes:
    """The dictionary codes of a column, zero-copy; null slots hold anything."""
    return values(column.indices)


def dictionary(column: pa.DictionaryArray) -> list[str]:
    """The distinct values behind `codes`: a handful, whatever the number of rows."""
    names: list[str] = column.dictionary.to_pylist()
    return names


def encoded(indices: Codes, names: Sequence[str], index_type: pa.DataType) -> pa.DictionaryArray:
    """A dictionary column from codes and names."""
    return pa.DictionaryArray.from_arrays(
        pa.array(indices.astype(_NUMPY[index_type], copy=False)), pa.array(names, pa.utf8())
    )


def concat_batches(batches: Sequence[pa.RecordBatch]) -> pa.RecordBatch:
    """One batch of several of the same schema, with their dictionaries unified."""
    if len(batches) == 1:
        return batches[0]
    return pa.concat_batches(batches)
