"""``--where``: choose rows of a table by an expression that can compare and nothing else."""

import ast
import difflib

import pandas as pd

from dinonat.errors import UsageError

LONGEST = 2000  # characters
COMPARISONS = (
    ast.Expression, ast.BoolOp, ast.And, ast.Or, ast.UnaryOp, ast.Not, ast.Invert, ast.USub, ast.UAdd,
    ast.BinOp, ast.Add, ast.Sub, ast.Mult, ast.Div, ast.BitAnd, ast.BitOr,
    ast.Compare, ast.Eq, ast.NotEq, ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.In, ast.NotIn,
    ast.Name, ast.Load, ast.Constant, ast.List, ast.Tuple,
)  # fmt: skip


def where(table: pd.DataFrame, expression: str) -> pd.DataFrame:
    """Return the rows for which ``expression`` holds, as ``DataFrame.query`` reads it.

    It may name columns of numbers and texts, compare, count and join with and, or, not, in:
    ``score > 0.8 and label in ["car", "bus"]``. Calls, attributes, ``@`` and columns of lists are
    refused, so that an expression from elsewhere can do no harm. A number that does not exist, such as
    ``t_max`` where nothing was measured, fulfils no comparison but ``!=``: ``t_max > 60`` leaves it out,
    and ``not t_max > 60`` lets it in. Raises UsageError, one sentence, for anything else.
    """
    columns = [str(name) for name in table if table[name].dtype != object]
    _check(expression, columns)
    if not len(table):
        return table
    try:
        # Texts may be categories, which pandas compares otherwise.
        named = {name: table[name] for name in columns_of(expression)}
        asked = table[columns].assign(**{name: _plain(values) for name, values in named.items()})
        chosen = asked.eval(expression.strip(), engine="python", parser="pandas")
    except Exception as error:  # pandas raises many kinds for a comparison of text with a number
        raise UsageError(f"--where {expression!r}: cannot be evaluated ({error}).") from error
    if not isinstance(chosen, pd.Series) or chosen.dtype != bool:
        raise UsageError(
            f"--where {expression!r}: not true or false for each row. Compare a column: score > 0.8."
        )
    return table[chosen]


def columns_of(expression: str) -> set[str]:
    """Return the columns that an expression names.

    >>> sorted(columns_of("t_max - t_median > 10 and label == 'car'"))
    ['label', 't_max', 't_median']
    """
    tree = ast.parse(expression.strip(), mode="eval")
    return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}


def _plain(values: pd.Series) -> pd.Series:
    return values.astype("str") if isinstance(values.dtype, pd.CategoricalDtype) else values


def _check(expression: str, columns: list[str]) -> None:
    """Refuse what is not a comparison of ``columns``."""
    if len(expression) > LONGEST:
        raise UsageError(f"--where: {len(expression)} characters; {LONGEST} is the most.")
    try:
        nodes = list(ast.walk(ast.parse(expression.strip(), mode="eval")))
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise UsageError(
            f"--where {expression!r}: not an expression such as score > 0.8 and label == 'car'."
        ) from error
    for node in nodes:
        if not isinstance(node, COMPARISONS):
            raise UsageError(
                f"--where {expression!r}: {type(node).__name__} is not allowed; compare columns with numbers "
                "and texts, and join with and, or, not, in."
            )
        if isinstance(node, ast.Name) and node.id not in columns:
            near = difflib.get_close_matches(node.id, columns, n=1)
            hint = f"Did you mean '{near[0]}'?" if near else f"Columns: {', '.join(columns)}."
            raise UsageError(f"--where {expression!r}: no column '{node.id}'. {hint}")
