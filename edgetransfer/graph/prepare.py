"""Prepares examples for the network by running the contract's own graph, or its tokenizer."""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from io import BytesIO
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from PIL import Image

from edgetransfer.agent.runtimes.onnxruntime import OnnxSession
from edgetransfer.data.decode import decode
from edgetransfer.graph.embed import PICTURE, PREPARED, preprocessing_graph
from edgetransfer.graph.tokens import read_tokenizer
from edgetransfer.spec.preprocess import ImagePreprocessing, TextPreprocessing
from edgetransfer.spec.progress import Progress, silent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from edgetransfer.data.manifest import Example

Array = np.ndarray[Any, Any]
Batch = dict[str, Array]
Item = TypeVar("Item")
Result = TypeVar("Result")
_COLUMNS = {"input_ids": "ids", "attention_mask": "attention_mask", "token_type_ids": "type_ids"}
"""What the tokenizer calls the inputs of a network."""
THUMBNAIL, QUOTED = 96, 200
"""Pixels of the longer side, and characters, that a report shows of an example."""
_WORKERS = 2
_DEPTH = 8


def ahead(work: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """Yield ``work(item)`` in order while the next few are worked on in threads.

    >>> list(ahead(abs, [-1, -2, 3]))
    [1, 2, 3]
    """
    with ThreadPoolExecutor(_WORKERS) as pool:
        waiting: deque[Future[Result]] = deque()
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) == _DEPTH:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def side_by_side(work: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """Yield ``work(item)`` in order, some at a time in threads that compute alone, no gradients.

    Batches side by side need no waiting for each other inside of an operator of torch, which
    several threads in one operator do: on a busy core that takes many times as long.
    """
    import torch

    def alone(item: Item) -> Result:
        torch.set_num_threads(1)
        with torch.no_grad():
            return work(item)

    return ahead(alone, items)


class PicturePreparer:
    """Decoded pictures -> ``float32 [1, 3, h, w]`` under the name of the network's input."""

    input_names: tuple[str, ...] = (PREPARED,)
    one_shape = ImagePreprocessing.one_shape

    def __init__(self, spec: ImagePreprocessing) -> None:
        self._session = OnnxSession(preprocessing_graph(spec).SerializeToString())

    def cut(self, examples: Sequence[Example]) -> None:
        """Say nothing: see `TextPreparer`."""

    def order(self, examples: Sequence[Example]) -> Array:
        """Return the rows as they come: see `TextPreparer`."""
        return np.arange(len(examples))

    def raw(self, example: Example) -> Batch:
        """Return what ``model.onnx`` takes: ``uint8 [1, H, W, 3]``."""
        assert example.path is not None  # the modality is checked where the manifest is made
        return {PICTURE: decode(example.path)[None]}

    def thumbnail(self, example: Example) -> bytes:
        """Return what a report shows of it: a small JPEG of the whole picture."""
        assert example.path is not None
        small, file = Image.fromarray(decode(example.path)), BytesIO()
        small.thumbnail((THUMBNAIL, THUMBNAIL))
        small.save(file, "JPEG", quality=70)
        return file.getvalue()

    def prepare(self, example: Example) -> Batch:
        """Return what the network takes."""
        return {PREPARED: self._session.run(self.raw(example))[0]}

    def join(self, batches: Sequence[Batch]) -> Batch:
        """Make one batch of several."""
        return {PREPARED: np.concatenate([batch[PREPARED] for batch in batches])}


class TextPreparer:
    """Texts -> ``int64 [1, L]`` token ids and mask, each text at its own length.

    SpecError where the file is not a tokenizer, MissingExtraError without tokenizers.
    """

    one_shape = TextPreprocessing.one_shape

    def __init__(self, spec: TextPreprocessing, tokenizer: Path) -> None:
        self.input_names = spec.inputs
        self._longest = spec.max_length
        self._padding = {name: spec.pad_id if name == "input_ids" else 0 for name in spec.inputs}
        self._tokenizer = read_tokenizer(tokenizer)
        direction = (self._tokenizer.truncation or {}).get("direction", "right")
        self._tokenizer.enable_truncation(spec.max_length, direction=direction)
        self._tokenizer.no_padding()

    def cut(self, examples: Sequence[Example]) -> str | None:
        """Say how many texts are longer than the network reads; None where none is."""
        encodings = self._tokenizer.encode_batch([example.text or "" for example in examples])
        number = sum(bool(each.overflowing) for each in encodings)
        if not number:
            return None
        verb = "was" if number == 1 else "were"
        return (
            f"{number:,} of {len(examples):,} texts {verb} cut to the {self._longest:,} tokens "
            "that the network reads"
        )

    def order(self, examples: Sequence[Example]) -> Array:
        """Return the rows, int [N], from the fewest tokens to the most: batches need few pads."""
        encodings = self._tokenizer.encode_batch([example.text or "" for example in examples])
        return np.argsort([len(each) for each in encodings], kind="stable")

    def raw(self, example: Example) -> Batch:
        """Return what ``model.onnx`` takes: the same token ids, for the tokenizer stays outside."""
        return self.prepare(example)

    def thumbnail(self, example: Example) -> str:
        """Return what a report shows of it: how it begins."""
        text = " ".join((example.text or "").split())
        return text if len(text) <= QUOTED else text[: QUOTED - 1] + "…"

    def prepare(self, example: Example) -> Batch:
        """Return what the network takes, by name: ids, mask, segments."""
        return self.tokens(example.text or "")

    def tokens(self, text: str) -> Batch:
        """Return what the network takes of a text that is no example."""
        encoding = self._tokenizer.encode(text)
        return {
            name: np.array([getattr(encoding, _COLUMNS[name])], dtype=np.int64)
            for name in self.input_names
        }

    def join(self, batches: Sequence[Batch]) -> Batch:
        """Make one batch of several, padded to the longest."""
        longest = max(batch[self.input_names[0]].shape[1] for batch in batches)

        def padded(array: Array, value: int) -> Array:
            return np.pad(array, ((0, 0), (0, longest - array.shape[1])), constant_values=value)

        return {
            name: np.concatenate([padded(batch[name], fill) for batch in batches])
            for name, fill in self._padding.items()
        }


Preparer = PicturePreparer | TextPreparer


def free_axes(inputs: Batch) -> tuple[str, ...]:
    """Name the axes of prepared inputs that differ among examples and batches."""
    return ("batch",) if PREPARED in inputs else ("batch", "length")


def preparer(spec: ImagePreprocessing | TextPreprocessing, tokenizer: Path | None) -> Preparer:
    """Return the preparer of a contract."""
    if isinstance(spec, ImagePreprocessing):
        return PicturePreparer(spec)
    assert tokenizer is not None  # every text source has one
    return TextPreparer(spec, tokenizer)


def batched(prepare: Preparer, examples: Iterable[Example], size: int) -> Iterator[Batch]:
    """Yield prepared examples, in order, joined in batches of a size; the last may be smaller."""
    prepared = ahead(prepare.prepare, examples)
    while group := list(islice(prepared, size)):
        yield prepare.join(group)


def write_each(
    prepare: Callable[[Example], Batch], examples: Sequence[Example], folder: Path
) -> dict[str, list[str]]:
    """Write a ``.npy`` file an example and input, as shapes may differ; return them by input."""
    files: dict[str, list[str]] = {}
    for index, batch in enumerate(ahead(prepare, examples)):
        for name, array in batch.items():
            path = folder / f"{name}-{index}.npy"
            np.save(path, array)
            files.setdefault(name, []).append(str(path))
    return files


def stack(
    prepare: Callable[[Example], Batch],
    examples: Sequence[Example],
    folder: Path,
    *,
    progress: Progress = silent,
) -> dict[str, str]:
    """Write prepared examples of one shape to one ``.npy`` file an input; return it by input."""
    files: dict[str, Any] = {}
    for index, batch in enumerate(ahead(prepare, examples)):
        for name, array in batch.items():
            if name not in files:
                shape = (len(examples), *array.shape[1:])
                files[name] = np.lib.format.open_memmap(
                    folder / f"{name}.npy", mode="w+", dtype=array.dtype, shape=shape
                )
            files[name][index] = array[0]
        progress(index + 1, len(examples))
    for mapped in files.values():
        mapped.flush()
    return {name: str(folder / f"{name}.npy") for name in files}
