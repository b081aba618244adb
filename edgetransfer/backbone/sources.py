"""Finds a backbone's files from what the user wrote, and opens them with the right library."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Literal

from safetensors import SafetensorError

from edgetransfer.backbone.files import CONFIG, check_weights, read_config
from edgetransfer.backbone.files import WEIGHTS as WEIGHTS_FILE
from edgetransfer.backbone.model import Backbone, FittedModel, Source
from edgetransfer.bundle.files import weight_files
from edgetransfer.bundle.opened import MEASURE
from edgetransfer.bundle.readers import read_contract, read_labels
from edgetransfer.errors import IntegrityError, MissingExtraError, SpecError, StageError, first_line
from edgetransfer.graph.tokens import SETTINGS, keep_tokenizer, read_tokenizer
from edgetransfer.spec.outside import (
    KIB,
    MIB,
    Kind,
    json_of,
    meant,
    nearest,
    parsed,
    refuse_no_file,
)

if TYPE_CHECKING:
    from edgetransfer.spec.preprocess import Modality

WEIGHTS = Path(__file__).parent / "weights"
_DOWNLOADED = ("*.json", "*.safetensors", "vocab.txt", "*/config.json", "README.md")
"""Of a hub: README.md states the licence."""
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl", "*.pickle")
_CONTRACT = Kind("contract", 64 * KIB, SpecError, expected="see docs/own-model.md")
_LABELS = Kind(
    "list of labels", 16 * MIB, SpecError, expected="one class a line, in the order of the outputs"
)
_EXPECTED = "hf:ORG/NAME, timm:NAME, builtin:NAME, a local folder, or a .onnx file"


def builtin_names() -> list[str]:
    """Return the names that ``builtin:NAME`` takes."""
    return sorted(card.parent.name for card in WEIGHTS.glob("*/card.json"))


_LARGE = 4096 * MIB
_LONGEST_HEADER = 100 * MIB


@dataclass(frozen=True)
class _Request:
    """What the user wrote, and after which option."""

    name: str
    option: str

    def __str__(self) -> str:
        return f"{self.option} {self.name}"


def locate(name: str, *, option: str = "--backbone") -> Source:
    """Find the files of a backbone, from a hub only where the user named one.

    SpecError where nothing is called that, IntegrityError of pickles, MissingExtraError without the
    library it needs, StageError where the hub could not be reached.
    """
    asked = _Request(name, option)
    scheme, _, rest = name.partition(":")
    if scheme == "builtin":
        if rest in builtin_names():
            return _folder(asked, WEIGHTS / rest)
        raise SpecError(
            "no such built-in backbone",
            where=str(asked),
            expected=", ".join(f"builtin:{each}" for each in builtin_names()),
            fix=_meant(name),
        )
    if scheme == "hf" and rest:
        return _folder(asked, _download(rest, asked))
    if scheme == "timm" and rest:
        return _folder(asked, _download(_timm_hub_id(rest), asked))
    path = Path(name or "nothing").expanduser()
    if path.suffix.lower() == ".onnx" and path.is_file():
        return _onnx(asked, path)
    if path.is_dir():
        return _folder(asked, path)
    if path.is_file():
        _refuse_pickles(asked, [path])
    raise SpecError("no such backbone", where=str(asked), expected=_EXPECTED, fix=_meant(name))


def _meant(name: str) -> str | None:
    scheme, colon, rest = name.partition(":")
    if not colon and re.fullmatch(r"\w[\w.-]*/[\w.-]+", name) and not name.endswith(".onnx"):
        return f"did you mean hf:{name}?"
    known = [f"builtin:{each}" for each in builtin_names()]
    other = nearest(scheme, ("hf", "timm")) if rest else []
    return meant(name, [*known, *(f"{each}:{rest}" for each in other)], parts=True)


def _readable(folder: Path) -> dict[str, Path]:
    """Return by name all files that a library may open there: no pickles, and no hidden files."""
    files = {file.relative_to(folder).as_posix(): file for file in sorted(folder.rglob("*"))}
    return {
        name: file
        for name, file in files.items()
        if file.is_file()
        and not any(part.startswith(".") for part in Path(name).parts)
        and not any(file.match(kind) for kind in _PICKLES)
    }


def _onnx(asked: _Request, path: Path) -> Source:
    beside = [path, *(_contract_of(path) / name for name in ("preprocess.json", "labels.txt"))]
    missing = [file.name for file in beside if not file.is_file()]
    if missing:
        raise SpecError(
            f"an .onnx file needs {' and '.join(missing)} beside it",
            where=str(asked),
            expected="preprocess.json (the contract, see docs/own-model.md) and labels.txt "
            "(one class a line, in the order of the outputs)",
        )
    return Source(asked.name, "onnx", path, _digest(opened_with(path)), asked.option)


def _contract_of(path: Path) -> Path:
    """Return the folder that says how an ONNX file is run: its own; of a bundle's, the bundle."""
    own = path.parent
    apart = own.name == MEASURE and not (own / "preprocess.json").is_file()
    return own.parent if apart else own


def opened_with(path: Path) -> dict[str, Path]:
    """Return all files that are read with an ONNX file, by what names them: it, and its own folder.

    Those are the contract, the labels, the tokenizer that the contract names, and the files that
    hold tensors. Of a file that cannot be read only those that need no look into it: what is wrong
    is said when it is opened.
    """
    folder, contract_in = path.parent, _contract_of(path)
    named = {path.name, "preprocess.json", "labels.txt", "tokenizer.json", SETTINGS}
    named |= {file.name for file in folder.iterdir() if file.name.startswith(path.name)}
    try:
        contract = read_contract(contract_in / "preprocess.json", _CONTRACT)
        if contract.kind == "text":
            tokenizer = PurePath(contract.tokenizer or ".")
            named |= {str(tokenizer), str(tokenizer.parent / SETTINGS)}
    except SpecError:
        pass
    named |= weight_files(path)
    places = dict.fromkeys((contract_in, folder))
    return {name: at / name for at in places for name in named if (at / name).is_file()}


def _refuse_hard_links(path: Path) -> None:
    """Refuse weights in a file that has another name elsewhere, as links out of the folder are."""
    for name in sorted(weight_files(path)):
        file = path.parent / name
        if file.is_file() and file.stat().st_nlink > 1:
            raise SpecError(
                "weights are read from a file that has other names too (hard links)",
                where=str(file),
                fix=f"make a copy of it: cp {name} x && mv x {name}",
            )


def _folder(asked: _Request, folder: Path) -> Source:
    config_file = folder / "config.json"
    if not config_file.is_file() and (folder / "card.json").is_file():
        return Source(asked.name, "builtin", folder, _digest(_readable(folder)), asked.option)
    weights = sorted(folder.glob("*.safetensors"))
    for file in weights:
        refuse_no_file(file, WEIGHTS_FILE)
    if not weights:
        _refuse_pickles(asked, [file for kind in _PICKLES for file in sorted(folder.glob(kind))])
    if not config_file.is_file() or not weights:
        # A bundle's other graphs are quantised.
        graphs = sorted((*folder.glob("*.onnx"), *folder.glob(f"{MEASURE}/*.onnx")))
        graphs.sort(key=lambda graph: graph.name != "reference.onnx")
        fitted = " --fit none" if asked.option == "--backbone" else ""
        raise SpecError(
            "not a backbone folder",
            where=str(asked),
            fix=f"name the file: {asked.option} {graphs[0]}{fitted}" if graphs else None,
            found=", ".join(sorted(each.name for each in folder.iterdir())[:8])
            or "an empty folder",
            expected="config.json and weights as .safetensors (transformers or timm layout)",
        )
    config = read_config(config_file)
    layout: Literal["transformers", "timm"] = (
        "timm" if "architecture" in config and "model_type" not in config else "transformers"
    )
    _refuse_shards_elsewhere(asked, folder)
    return Source(asked.name, layout, folder, _digest(_readable(folder)), asked.option)


def _refuse_shards_elsewhere(asked: _Request, folder: Path) -> None:
    """Meet an index of weights that names files which are not in the folder."""
    for index in sorted(folder.glob("*.safetensors.index.json")):
        try:
            named = json_of(index, CONFIG)["weight_map"].values()
        except (SpecError, LookupError, TypeError, AttributeError):
            continue  # the library that opens it says what is wrong
        outside = sorted({str(name) for name in named if str(name) != Path(str(name)).name})
        if outside:
            raise IntegrityError(
                "the index names weights outside the folder",
                where=str(index),
                found=", ".join(outside[:3]),
                expected=f"names of files beside it ({asked})",
            )


def _refuse_pickles(asked: _Request, files: list[Path]) -> None:
    if not any(file.match(kind) for kind in _PICKLES for file in files):
        return
    raise IntegrityError(
        "the weights are a pickle, which can run any code when it is opened",
        where=str(asked),
        found=", ".join(file.name for file in files),
        expected="weights as .safetensors",
        fix="take a revision with safetensors, or convert it where you trust it: "
        "safetensors.torch.save_model(model, 'model.safetensors')",
    )


def _refuse_endless(file: Path) -> None:
    """Refuse a large file that is no file of weights, before it is read through for its digest."""
    size = file.stat().st_size
    if size <= _LARGE:
        return
    with file.open("rb") as opened:
        length = int.from_bytes(opened.read(8), "little")
        header = opened.read(length) if length <= _LONGEST_HEADER else b""
    try:
        tensors = parsed(header, file, WEIGHTS_FILE)
        ends = [each["data_offsets"][1] for name, each in tensors.items() if name[:2] != "__"]
        promised = 8 + length + max(ends)
    except (SpecError, LookupError, TypeError, AttributeError, ValueError):
        promised = 0
    if file.suffix != ".safetensors" or promised != size:
        found = f"{size:,} bytes that are no tensors"
        raise WEIGHTS_FILE.unreadable(file, found)


def _digest(files: Mapping[str, Path]) -> str:
    total = hashlib.sha256()
    for name, file in sorted(files.items()):
        _refuse_endless(file)
        with file.open("rb") as handle:
            content = hashlib.file_digest(handle, "sha256").hexdigest()
        total.update(f"{name} {content}\n".encode(errors="surrogateescape"))
    return total.hexdigest()


def _download(repository: str, asked: _Request) -> Path:
    try:
        import huggingface_hub
    except ImportError as error:
        raise MissingExtraError("huggingface_hub", "hf", purpose=str(asked)) from error
    try:
        return Path(huggingface_hub.snapshot_download(repository, allow_patterns=list(_DOWNLOADED)))
    except Exception as error:  # the hub client raises many kinds, its own and the network's
        raise StageError(
            "the backbone could not be downloaded",
            where=str(asked),
            found=first_line(error),
            fix="check the name and the connection, or download it elsewhere and give the folder",
        ) from error


def _timm_hub_id(architecture: str) -> str:
    try:
        import timm
    except ImportError as error:
        raise MissingExtraError("timm", "timm", purpose=f"timm:{architecture}") from error
    config = timm.models.get_pretrained_cfg(architecture)
    if config is None or not config.hf_hub_id:
        raise SpecError(
            "timm has no pretrained weights of that name",
            where=f"--backbone timm:{architecture}",
            fix="list the names with: python -c 'import timm; print(timm.list_pretrained())'",
        )
    identifier: str = config.hf_hub_id
    return identifier if "/" in identifier else f"timm/{architecture}"


@contextmanager
def _reading_weights(source: Source) -> Iterator[None]:
    try:
        yield
    except SafetensorError as error:
        raise IntegrityError(
            "the weights cannot be read",
            where=source.asked,
            found=str(error),
            fix="download or copy them again",
        ) from error


def load(source: Source, modality: Modality) -> Backbone:
    """Open the feature extractor of a source.

    SpecError where it holds another kind of network, no contract for its inputs, or weights that no
    training leaves; IntegrityError of damaged weights; MissingExtraError without its library.
    """
    if source.layout == "onnx":
        raise source.refused(
            "an .onnx file cannot be fitted",
            fix="add --fit none to measure it as it is, or give the trainable weights",
        )
    with _reading_weights(source):
        if source.layout == "builtin":
            from edgetransfer.backbone import builtin as library
        elif source.layout == "timm":
            from edgetransfer.backbone import timm_folder as library  # type: ignore[no-redef]
        else:
            from edgetransfer.backbone import (  # type: ignore[no-redef]
                transformers_folder as library,
            )
        backbone = library.load(source, modality)
        check_weights(source, backbone.network)
    return backbone


def load_fitted(source: Source, modality: Modality) -> FittedModel:
    """Open a whole classifier: a transformers folder with its head, or an ONNX file.

    Raises a SpecError where it has none of one class an example, IntegrityError of damaged weights.
    """
    if source.layout == "onnx":
        return load_onnx(source, modality)
    if source.layout == "transformers":
        from edgetransfer.backbone import transformers_folder

        with _reading_weights(source):
            model = transformers_folder.load_fitted(source, modality)
            assert model.network is not None  # only an ONNX file has none
            check_weights(source, model.network.get_submodule("classifier"))
        return model
    raise SpecError(
        f"{source.name} has no classifier of its own",
        where="--fit none",
        expected="a fitted transformers folder or a float .onnx file",
        fix="choose --fit probe or --fit finetune",
    )


def load_onnx(source: Source, modality: Modality) -> FittedModel:
    """Read ``preprocess.json`` and ``labels.txt`` beside the file.

    SpecError where the contract is not valid or for the other modality, or a label is none.
    """
    _refuse_hard_links(source.path)
    folder = _contract_of(source.path)
    file = folder / "preprocess.json"
    preprocessing = read_contract(file, _CONTRACT)
    if preprocessing.kind != modality:
        raise SpecError(
            f"the contract is for {preprocessing.kind} and the examples are {modality}",
            where=str(file),
        )
    labels = read_labels(folder / "labels.txt", _LABELS)
    tokenizer: Path | None = None
    if preprocessing.kind == "text":
        tokenizer = folder / preprocessing.tokenizer
        if not tokenizer.is_file():
            raise SpecError("the contract names a tokenizer that is missing", where=str(tokenizer))
        tokenizer = keep_tokenizer(read_tokenizer(tokenizer), preprocessing.max_length)
    return FittedModel(None, labels, preprocessing, None, tokenizer)


def candidates_of(names: Sequence[str], option: str = "--candidate") -> tuple[Source, ...]:
    """Find the files of candidates, all built-in ones where none is named; raises as `locate`."""
    every = names or [f"builtin:{name}" for name in builtin_names()]
    return tuple(locate(name, option=option) for name in dict.fromkeys(every))
