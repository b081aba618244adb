"""Reads files and messages that somebody else may have written, within limits.

Only a regular file is opened (a pipe or a device never makes it wait), no more is read than its
`Kind` allows, and what is wrong ends in one error of the `Kind`. `validated` adds the form.
"""

from __future__ import annotations

import difflib
import json
import math
import os
import reprlib
import stat
import tomllib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from edgetransfer.errors import EdgeTransferError, IntegrityError, SpecError, first_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from io import BufferedReader
    from pathlib import Path

    from pydantic import TypeAdapter, ValidationError

M = TypeVar("M")
LFS = b"version https://git-lfs.github.com/spec/"
"""What stands in place of a large file in a repository that was cloned without Git LFS."""
KIB, MIB = 1024, 1024 * 1024
_DEEPEST = 40
"""Levels of nesting; what we write has at most 9, a transformers configuration 6."""
_MOST_DIGITS = 40
"""Of a whole number; ``model_max_length`` of tokenizers has 31."""
_MOST_PROBLEMS = 8
_FEWEST = 3
"""Letters that are enough to know a name by where they stand in it."""
_PLAINER = {
    "extra_forbidden": "no such field",
    "json_invalid": "half of a character, as in a name that is not UTF-8",
}
_FILE_TYPES = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
}


@dataclass(frozen=True)
class Kind:
    """What one kind of outside file is.

    Attributes:
        called: as it stands in "not a readable ...".
        most: bytes that are read, at most.
        error: what is raised.
        expected: who writes such a file, or what it looks like.
        fix: what helps, where something always does.
        once: whether a key may stand but once in an object of its JSON.
    """

    called: str
    most: int = 16 * MIB
    error: type[EdgeTransferError] = IntegrityError
    expected: str | None = None
    fix: str | None = None
    once: bool = True

    def fault(self, what: str, where: object, found: str | None = None) -> EdgeTransferError:
        """Return the error of one such file or message."""
        place = printable(str(where))
        return self.error(what, where=place, found=found, expected=self.expected, fix=self.fix)

    def unreadable(self, where: object, found: str) -> EdgeTransferError:
        """Return the error of what cannot be taken for such a file at all."""
        return self.fault(f"not a readable {self.called}", where, found)


TOML = Kind("TOML file", MIB, SpecError)
JSON = Kind("JSON file")


def printable(text: str) -> str:
    r"""Return a text that can be printed anywhere: what moves a terminal's cursor is spelled out.

    >>> printable("caf\xe9\udcff\x1b[2J\n")
    'café\\udcff\\x1b[2J\n'
    """
    return "".join(
        each if each.isprintable() or each in "\n\t" else each.encode("unicode_escape").decode()
        for each in text
    )


def shortened(value: object, most: int = 80) -> str:
    """Return a value as a message shows it: one line, however large or deep it is.

    >>> shortened({"a": [1, 2]}), shortened("x" * 100, 20)
    ("{'a': [1, 2]}", "'xxxxxxx...xxxxxxx'")
    """
    short = reprlib.Repr()
    short.maxstring = short.maxother = short.maxlong = most
    short.maxlevel = 3
    shown = short.repr(value)
    return shown if len(shown) <= most else shown[: most - 3] + "..."


def some(names: Sequence[str], most: int = 5) -> str:
    """Return the first of some names, and how many more there are.

    >>> some(["a", "b"]), some(["a", "b", "c"], 2)
    ('a, b', 'a, b and 1 more')
    """
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def meant(word: str, known: Iterable[str], *, parts: bool = False) -> str | None:
    """Return what to say of a word that is close to known ones, None where none is.

    >>> meant("epohs", ["epochs", "rank"]), meant("toaster", ["phone"])
    ('did you mean epochs?', None)
    """
    names = nearest(word, known, parts=parts)[:3]
    return f"did you mean {' or '.join(names)}?" if names else None


def nearest(word: str, known: Iterable[str], *, parts: bool = False) -> list[str]:
    """Return the known name that a word is like; with `parts` first those that it is a part of.

    >>> nearest("myboard5", ["my-board-4", "my-board-5"])
    ['my-board-5']
    >>> nearest("Board", ["my-board-4", "phone", "my-board-5"], parts=True)
    ['my-board-4', 'my-board-5']
    """
    by_letters = {_letters(each): each for each in known}
    asked = _letters(word)
    close = [each for each in by_letters if parts and len(asked) >= _FEWEST and asked in each]
    close = close or difflib.get_close_matches(asked, by_letters, n=1, cutoff=0.7)
    return [by_letters[each] for each in close]


def _letters(word: str) -> str:
    return "".join(filter(str.isalnum, word.casefold())) or word


def opened(path: Path, kind: Kind) -> BufferedReader:
    """Open a regular file; the caller closes it."""
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
    try:
        handle = os.open(path, flags)
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the name
        raise kind.unreadable(path, _words(path, error)) from error
    about = os.fstat(handle)
    if not stat.S_ISREG(about.st_mode):
        os.close(handle)
        told = _FILE_TYPES.get(stat.S_IFMT(about.st_mode), "something else")
        raise kind.unreadable(path, f"{told}, no file")
    return os.fdopen(handle, "rb")


def content_of(path: Path, kind: Kind) -> bytes:
    """Read a regular file whole."""
    with opened(path, kind) as file:
        about = os.fstat(file.fileno())
        try:
            content = file.read(kind.most + 1) if about.st_size <= kind.most else None
        except OSError as error:
            raise kind.unreadable(path, _words(path, error)) from error
    if content is None or len(content) > kind.most:
        found = f"{max(about.st_size, kind.most + 1):,} bytes; at most {kind.most:,} are read"
        raise kind.unreadable(path, found)
    _refuse_pointer(content, path, kind)
    return content


def refuse_no_file(path: Path, kind: Kind) -> None:
    """Make sure that a library which opens a file itself meets a regular one."""
    with opened(path, kind) as file:
        size = os.fstat(file.fileno()).st_size
        if size > kind.most:
            raise kind.unreadable(path, f"{size:,} bytes; at most {kind.most:,} are read")
        head = file.read(len(LFS))
    _refuse_pointer(head, path, kind)
    if head.lstrip().lower().startswith((b"<!doctype", b"<html")):
        raise kind.unreadable(path, "a web page: download the file itself")


def _refuse_pointer(head: bytes, path: Path, kind: Kind) -> None:
    if head.startswith(LFS):
        raise kind.unreadable(path, "a pointer of Git LFS, not the file: run `git lfs pull`")


def _words(path: Path, error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "a link to nothing" if path.is_symlink() else "no such file"
    return os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)


def text_of(path: Path, kind: Kind) -> str:
    """Read a UTF-8 file whole, without the byte order mark that it may begin with."""
    return decoded(content_of(path, kind), path, kind)


def decoded(content: bytes, where: object, kind: Kind) -> str:
    """Return UTF-8 as text, without a byte order mark."""
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        found = f"not UTF-8: byte {error.object[error.start]:#04x} at offset {error.start:,}"
        raise kind.unreadable(where, found) from error


def json_of(path: Path, kind: Kind = JSON) -> Any:  # noqa: ANN401 (any plain JSON value)
    """Read a JSON file."""
    return parsed(content_of(path, kind), path, kind)


def parsed(content: bytes | str, where: object, kind: Kind = JSON) -> Any:  # noqa: ANN401
    """Return what JSON says: finite numbers, whole text, no deeper than 40 levels."""
    text = decoded(content, where, kind) if isinstance(content, bytes) else content
    pairs = _once if kind.once else None

    def read() -> object:
        return json.loads(
            text,
            parse_int=_whole,
            parse_float=_finite,
            parse_constant=_no_number,
            object_pairs_hook=pairs,
        )

    return _read(read, where, kind)


def toml_of(path: Path) -> dict[str, Any]:
    """Read a TOML file."""
    text = text_of(path, TOML)
    found = _read(lambda: tomllib.loads(text), path, TOML)
    assert isinstance(found, dict)  # TOML is one table
    return found


def _read(read: Callable[[], object], where: object, kind: Kind) -> object:
    try:
        found = read()
        _refuse_odd(found)
    except RecursionError as error:
        raise kind.unreadable(where, f"nested over {_DEEPEST} deep") from error
    except ValueError as error:
        raise kind.unreadable(where, printable(first_line(error))) from error
    return found


def _whole(text: str) -> int:
    if len(text) > _MOST_DIGITS:
        raise ValueError(f"a number of {len(text):,} digits")
    return int(text)


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        _no_number(text)
    return number


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text[:20]} is no finite number")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"the key {shortened(name)} stands twice")
        found[name] = value
    return found


def _refuse_odd(value: object) -> None:
    """Look through a value level by level, so that its depth is no matter.

    RecursionError where it is too deep, ValueError for no Unicode or a whole number of many digits.
    """
    level: list[object] = [value]
    for _ in range(_DEEPEST):
        below: list[object] = []
        for each in level:
            if isinstance(each, dict):
                below += each
                below += each.values()
            elif isinstance(each, list):
                below += each
            elif isinstance(each, str) and not each.isascii():
                each.encode()  # half of a pair of surrogates raises UnicodeEncodeError
            elif isinstance(each, int) and each.bit_length() > 4 * _MOST_DIGITS:
                raise ValueError(f"a number of {each.bit_length():,} bits")
        if not below:
            return
        level = below
    raise RecursionError


def validated(
    model: type[M] | TypeAdapter[M],
    value: object,
    where: object,
    kind: Kind = JSON,
    spelled: Mapping[tuple[str, ...], str] | None = None,
) -> M:
    """Return a plain value as a model has it; ``"1"`` is no number, and 1 no text."""
    from pydantic import TypeAdapter, ValidationError

    adapter = model if isinstance(model, TypeAdapter) else TypeAdapter(model)
    try:
        # Written again, for there a list counts as a tuple; dates and options are no JSON.
        return adapter.validate_json(json.dumps(value, default=_plain), strict=True)
    except ValidationError as error:
        raise kind.fault(explain(error, spelled, model), where) from error


def plainer(message: str) -> str:
    """Return what pydantic says of a value, as one says it.

    >>> plainer("Value error, 'x' is not one of 'a', 'b'.")
    "'x' is not one of 'a', 'b'."
    >>> plainer("Input should be a valid integer, unable to parse string as an integer")
    'should be a valid integer'
    """
    message = message.removeprefix("Value error, ").partition(", unable to parse")[0]
    return message.replace("Input should", "should")


def _beside(model: object, place: Sequence[str]) -> Iterable[str]:
    """Return the fields that a model has where another one was named."""
    for part in place[:-1]:
        model = getattr(getattr(model, "model_fields", {}).get(part), "annotation", None)
    return getattr(model, "model_fields", ())


def _plain(value: object) -> object:
    """Return what JSON lacks as what it has: numbers of numpy, dates, paths."""
    return value.item() if hasattr(value, "item") else str(value)


def explain(
    error: ValidationError,
    spelled: Mapping[tuple[str, ...], str] | None = None,
    model: object = None,
) -> str:
    """Say the problems of a value, and what fields of its model may have been meant.

    `spelled` is what the user calls a field, by its place.
    """
    from pydantic import BaseModel

    lines = []
    items = error.errors(include_url=False)
    for item in items[:_MOST_PROBLEMS]:
        place = tuple(str(part) for part in item["loc"])
        names, listed_in = spelled or {}, place[:-1] if place and place[-1].isdigit() else place
        field = names.get(place) or names.get(listed_in) or ".".join(place) or "the whole"
        message = _PLAINER.get(item["type"]) or plainer(item["msg"])
        if item["type"] == "extra_forbidden":
            message = ", ".join(filter(None, (message, meant(place[-1], _beside(model, place)))))
        found = item["input"]
        told = item["type"] == "extra_forbidden" or isinstance(found, dict | BaseModel | None)
        listed = found if isinstance(found, tuple | list) else ()
        named = bool(listed) and all(isinstance(each, str) for each in listed)
        shown = shortened(", ".join(listed)).strip("'") if named else shortened(found)
        lines.append(f"{printable(field)}: {message}" + ("" if told else f" (found {shown})"))
    if len(items) > _MOST_PROBLEMS:
        lines.append(f"and {len(items) - _MOST_PROBLEMS} more")
    return "; ".join(lines)
