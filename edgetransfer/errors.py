"""Every error that a user can meet, each with the exit code a CI job can branch on."""

from __future__ import annotations

from typing import ClassVar


class EdgeTransferError(Exception):
    """Root of all errors that are not bugs.

    Args:
        what: what went wrong, one sentence without a full stop.
        where: the file, row, option or stage it went wrong in.
        found: what was there.
        expected: what should have been there.
        fix: what to do about it.

    >>> print(DataError("no pictures", where="./photos", expected="one folder a class"))
    ./photos: no pictures
      expected: one folder a class
    """

    exit_code: ClassVar[int] = 7

    def __init__(
        self,
        what: str,
        *,
        where: str | None = None,
        found: str | None = None,
        expected: str | None = None,
        fix: str | None = None,
    ) -> None:
        head = what if where is None else f"{where}: {what}"
        tail = {"found": found, "expected": expected, "fix": fix}
        super().__init__("\n".join([head, *(f"  {k}: {v}" for k, v in tail.items() if v)]))


class SpecError(EdgeTransferError):
    """What the user asked for cannot be: an option, a recipe, a target file."""

    exit_code = 3


class DataError(EdgeTransferError):
    """The examples cannot be used as they are."""

    exit_code = 4


class MissingExtraError(EdgeTransferError):
    """An optional dependency is not installed."""

    exit_code = 5

    def __init__(self, package: str, extra: str, *, purpose: str) -> None:
        super().__init__(
            f"{purpose} needs the package {package}, which is not installed",
            fix=f"pip install 'edgetransfer[{extra}]'",
        )


class UnsupportedError(EdgeTransferError):
    """The target or this version cannot do what is asked."""

    exit_code = 6


class StageError(EdgeTransferError):
    """A stage failed for a reason outside the input: no space, no right to write, a crash."""

    exit_code = 7


class NumericalError(StageError):
    """The numbers of a network do not bear what was tried on them; something else may do."""


class MemoryFullError(StageError):
    """More memory was asked for than there is."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(
            "the memory is full",
            found=first_line(error),
            fix="end other programs, or take a smaller backbone, fewer examples or --threads 1; "
            "the same command goes on from the last finished stage",
        )


class IntegrityError(EdgeTransferError):
    """A file is not what its digest says."""

    exit_code = 9


def first_line(error: BaseException) -> str:
    r"""Return the first line of what a library says, up to 200 letters, or what the error is.

    >>> first_line(ValueError("no such axis\nstack: ...")), first_line(KeyError())
    ('no such axis', 'KeyError()')
    """
    return (str(error).strip().splitlines() or [repr(error)])[0][:200]


def let_stop(error: BaseException) -> None:
    """Go on stopping, where a library wrapped the user's ``Ctrl-C`` in an error of its own."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, KeyboardInterrupt | SystemExit):
            raise cause
        cause = cause.__cause__ or cause.__context__


BUDGET_MISSED, UNDECIDED, UNMEASURED = 8, 10, 11
"""Exit codes of verdicts; docs/budgets.md has the table of all."""


def is_numerical(error: Exception) -> bool:
    """Tell whether something failed by its numbers or in the runtime, so that another way may do.

    Torch's failures are a RuntimeError; ONNX Runtime's have no root of their own.

    >>> is_numerical(ZeroDivisionError()), is_numerical(FileNotFoundError())
    (True, False)
    """
    kind = type(error)
    known = isinstance(error, NumericalError | ArithmeticError | RuntimeError)
    return known or kind.__name__ == "LinAlgError" or kind.__module__.startswith("onnx")
