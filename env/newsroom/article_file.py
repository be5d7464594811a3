"""Opening a table of articles: CSV (also gzipped), Parquet or a table in memory, as one Arrow table.

Cells of a CSV stay text here, so that ``read_articles`` can name the very cell that it refuses.
Rows are data rows, counted from 1: the header is none of them.
"""

from __future__ import annotations

import csv
import gzip
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from feedgym.env.checks import require

if TYPE_CHECKING:
    import pyarrow as pa

EXTENSIONS = (".csv", ".csv.gz", ".parquet")
"""How the name of a file of articles ends."""
MISSING = ("", "NA", "N/A", "n/a", "<NA>", "NaN", "nan", "NaT", "null", "NULL", "None")
"""Words of a cell that is missing, in all columns and kinds of files."""
_DELIMITERS = (",", ";", "\t")


def open_table(source: Any) -> tuple[str, pa.Table]:
    """The articles of ``source`` as an Arrow table, and what to call it in an error.

    Args:
        source: path of a file, or what ``pyarrow.table`` takes: an Arrow table, a dict of columns, a data frame.

    Raises:
        FileNotFoundError: no such file.
        ValueError: an extension, a file or an object that cannot be read.
    """
    import pyarrow as pa

    if not isinstance(source, str | Path):
        name = "articles"
        try:
            table = source if isinstance(source, pa.Table) else pa.table(source)
        except (pa.ArrowException, TypeError, ValueError) as error:
            raise ValueError(f"{name}: got {type(source).__name__}, needs a path or a table ({error})") from error
    else:
        path = Path(source)
        name = str(source)
        require(name.lower().endswith(EXTENSIONS), "articles", name, f"a file ending in {' or '.join(EXTENSIONS)}")
        if not path.is_file():
            raise FileNotFoundError(f"articles: got {name!r}, needs a file that exists")
        table = _read_parquet(path) if name.lower().endswith(".parquet") else _read_csv(path)
    repeated = sorted({column for column in table.column_names if table.column_names.count(column) > 1})
    require(not repeated, f"{name}: columns", repeated, "each column once")
    require(table.num_rows > 0, f"{name}: rows", 0, "at least one article below the header")
    return name, table


def _read_parquet(path: Path) -> pa.Table:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.read_table(path, partitioning=None)
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{path}: got a file that is no Parquet or is cut short ({error})") from error


def _read_csv(path: Path) -> pa.Table:
    """All cells as text, null where missing; a row of another length than the header is refused by number.

    Cells are separated by commas, or by semicolons or tabs where the header is.
    """
    import pyarrow as pa
    import pyarrow.csv as pacsv

    header, delimiter = _header(path)
    misfits: list[Any] = []

    def keep_first(row: Any) -> str:
        misfits.append(row)
        return "skip"

    try:
        table = pacsv.read_csv(
            path,
            # One thread: the only way to learn the number of a row that does not fit.
            read_options=pacsv.ReadOptions(use_threads=False),
            parse_options=pacsv.ParseOptions(
                delimiter=delimiter, invalid_row_handler=keep_first, newlines_in_values=True
            ),
            convert_options=pacsv.ConvertOptions(
                column_types=dict.fromkeys(header, pa.string()), strings_can_be_null=True, null_values=[*MISSING]
            ),
        )
    except (pa.ArrowException, OSError, EOFError) as error:
        raise ValueError(f"{path}: got a file that is no CSV in UTF-8 or is cut short ({error})") from error
    if misfits:
        row = misfits[0]
        raise ValueError(
            f"{path}: row {row.number - 1}: got {row.actual_columns} cells ({row.text!r}), "
            f"needs {row.expected_columns} as in the header"
        )
    _check_quotes(path, delimiter)
    return table.rename_columns([name.strip() for name in table.column_names])


def _text_of(path: Path) -> IO[str]:
    if path.name.lower().endswith(".gz"):
        return gzip.open(path, "rt", encoding="utf-8-sig", newline="")
    return open(path, encoding="utf-8-sig", newline="")


def _header(path: Path) -> tuple[list[str], str]:
    """Names as they stand, and the character between them: the first that separates any."""
    try:
        with _text_of(path) as file:
            line = file.readline()
        found = [(next(csv.reader([line], delimiter=delimiter), []), delimiter) for delimiter in _DELIMITERS]
        return next((names for names in found if len(names[0]) > 1), found[0])
    except (OSError, EOFError, UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path}: got a file that is no CSV in UTF-8 or is cut short ({error})") from error


def _check_quotes(path: Path, delimiter: str) -> None:
    """Refuse a quote that swallows rows: one that opens a cell and is closed lines below, or never."""
    row = 0
    with _text_of(path) as file:
        reader = csv.reader(file, delimiter=delimiter, strict=True)
        try:
            for row, _ in enumerate(reader):  # noqa: B007
                pass
        except csv.Error as error:
            raise ValueError(
                f"{path}: row {row + 1}: got a cell that opens with a quote and does not end with one ({error}), "
                'needs the whole cell in quotes, and quotes within it doubled: "Breaking: ""5"" dead"'
            ) from error
