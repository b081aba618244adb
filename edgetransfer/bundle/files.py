"""Writes files whole (temporary file, fsync, rename), takes their digests, reads their tensors."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import secrets
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgetransfer.errors import StageError, first_line
from edgetransfer.spec.outside import Kind, json_of, refuse_no_file

if TYPE_CHECKING:
    from numpy.typing import NDArray

_ADVICE = {
    errno.ENOSPC: ("no space left on the disk", "free some space and run the same command again"),
    errno.EDQUOT: ("the disk quota is used up", "free some space and run the same command again"),
    errno.EROFS: ("the file system is read-only", "choose another folder with --out or --cache"),
    errno.EACCES: ("no right to write here", "choose another folder with --out or --cache"),
    errno.EPERM: ("no right to write here", "choose another folder with --out or --cache"),
    errno.ENOTDIR: ("a file stands where a folder is needed", "choose another --out or --cache"),
    errno.EEXIST: ("a file stands where a folder is needed", "choose another --out or --cache"),
    errno.EISDIR: ("a folder stands where a file is needed", "choose another --out or --cache"),
}
read_json = json_of


def refused(error: OSError) -> StageError:
    """Return in words what the operating system refused."""
    said = os.strerror(error.errno) if error.errno is not None else str(error)
    what, fix = _ADVICE.get(error.errno or 0, ("", "see that it is there, and may be used"))
    named = [str(each) for each in (error.filename, error.filename2) if each is not None]
    where = " to ".join(named) or "the operating system"
    return StageError(what or said, where=where, found=said if what else None, fix=fix)


@contextmanager
def writing(where: Path) -> Iterator[None]:
    """Turn a failed write below `where` into a `StageError` that says what to do."""
    try:
        yield
    except OSError as error:
        if error.errno not in _ADVICE:
            raise
        what, fix = _ADVICE[error.errno]
        raise StageError(what, where=str(where), found=str(error), fix=fix) from error


def write_whole(path: Path, content: bytes) -> None:
    """Write `content` so that a reader, or a crash, sees the old file or the new one whole."""
    name = path.parent / f".{path.name[:200]}.{secrets.token_hex(4)}"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    handle = os.open(name, flags, 0o666)  # less the umask, which `mkstemp` would not ask
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        name.replace(path)
    except BaseException:
        name.unlink(missing_ok=True)
        raise


def sync(path: Path) -> None:
    """Have a file or folder on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def canonical_json(value: Any) -> str:  # noqa: ANN401 (any plain JSON value)
    """Write a plain value as JSON that is the same text for the same value.

    >>> canonical_json({"b": 1, "a": [2.5]})
    '{"a":[2.5],"b":1}'
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def write_json(path: Path, value: Any) -> None:  # noqa: ANN401 (any plain JSON value)
    """Write a plain value as readable JSON, whole."""
    text = json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False) + "\n"
    write_whole(path, text.encode())


def digest_of(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest_of_value(value: Any) -> str:  # noqa: ANN401 (any plain JSON value)
    """Return the SHA-256 of a plain JSON value, independent of the order of its keys."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def weight_files(path: Path) -> set[str]:
    """Return the names, "" for none, of other files that hold tensors of a readable ONNX file."""
    import onnx

    try:
        model = onnx.load(path, load_external_data=False)
    except Exception:  # protobuf raises kinds of its own; whoever opens it says what is wrong
        return set()
    outside = [each for each in _tensors(model) if each.external_data or each.data_location]
    named = [
        pair.value for each in outside for pair in each.external_data if pair.key == "location"
    ]
    return {*named, *([] if named or not outside else [""])}


def _tensors(message: Any) -> Iterator[Any]:  # noqa: ANN401 (protobuf has no types)
    """All tensors of a protobuf message, however deep they stand."""
    for field, value in message.ListFields():
        if field.message_type is not None:
            for inner in value if isinstance(value, Iterable) else [value]:
                if field.message_type.name == "TensorProto":
                    yield inner
                else:
                    yield from _tensors(inner)


def digests_below(folder: Path) -> dict[str, str]:
    """Return the digest of every file below `folder`, by its POSIX path relative to it."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): digest_of(path) for path in files}


def read_tensors(
    path: Path, kind: Kind, forms: Mapping[str, str], optional: Iterable[str] = ()
) -> tuple[dict[str, NDArray[Any]], dict[str, str]]:
    """Read the tensors of a file, of which some may lack, and what its header says besides.

    The form of a tensor is ``number``, ``spread`` (from 0), ``positive`` or ``count`` (whole, from
    0), then its axes: a length, or a letter that names it. What does not fit is the kind's error.
    """
    from safetensors import SafetensorError, safe_open
    from safetensors.numpy import load_file

    refuse_no_file(path, kind)
    try:
        with safe_open(path, "np") as opened:
            said = dict(opened.metadata() or {})
        tensors: dict[str, NDArray[Any]] = load_file(path)
    except (OSError, SafetensorError, ValueError, LookupError, TypeError, MemoryError) as error:
        raise kind.unreadable(path, first_line(error)) from error
    lacking = forms.keys() - tensors.keys() - set(optional)
    if lacking:
        raise kind.unreadable(path, f"no tensor {', '.join(sorted(lacking))}")
    known: dict[str, int] = {}
    for name, array in tensors.items():
        wrong = _misfit(array, forms[name], known) if name in forms else None
        if wrong is not None:
            raise kind.unreadable(path, f"{name}: {wrong}")
    return {name: tensors[name] for name in forms if name in tensors}, said


def _misfit(array: NDArray[Any], form: str, known: dict[str, int]) -> str | None:
    import numpy as np

    what, *axes = form.split()
    kinds, said = ("iu", "whole numbers") if what == "count" else ("f", "floats")
    if array.dtype.kind not in kinds:
        return f"{array.dtype} where {said} belong"
    if array.ndim != len(axes):
        return f"{array.ndim} axes where {len(axes)} belong"
    for letter, length in zip(axes, array.shape, strict=True):
        expected = int(letter) if letter.isdigit() else known.setdefault(letter, length)
        if expected != length:
            return f"shape {list(array.shape)} does not fit the other tensors"
    if not np.isfinite(array).all():
        return "numbers that are not finite"
    if what == "positive" and (array <= 0).any():
        return "numbers that are not above 0"
    return "numbers below 0" if what != "number" and (array < 0).any() else None
