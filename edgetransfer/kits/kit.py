"""Makes a kit: code that is the same for every model, and a folder of what one model needs.

No code is generated. Names of classes, settings and cases are data, which the code reads: a class
called ``</script>`` is a label, and nothing else.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from jinja2 import Environment, StrictUndefined

from edgetransfer.bundle.files import digest_of
from edgetransfer.bundle.opened import Bundle, open_bundle
from edgetransfer.bundle.swap import finished_in
from edgetransfer.errors import SpecError
from edgetransfer.export.jetson import write_jetson
from edgetransfer.export.web import write_web
from edgetransfer.kits.model_folder import (
    refuse_inside,
    refuse_unfit,
    write_golden_cases,
    write_model_folder,
)
from edgetransfer.spec.outside import Kind, meant, printable, text_of

if TYPE_CHECKING:
    from edgetransfer.bundle.opened import Bundle

LISTED = "kit.tsv"
"""In a kit: the digest of every other file, by which a newer kit may take its place."""
_MADE_BY_TOOLS = frozenset(
    {
        *(".build", ".swiftpm", "Package.resolved", ".gradle", ".kotlin", ".idea", "build"),
        *("local.properties", "__pycache__", "node_modules", "measured.json"),
    }
)
"""Names of what compilers and checks leave in a kit that is used: made again when it is wanted."""
_RENDERED = ".j2"
_LIST = Kind("list of a kit's files")


@dataclass(frozen=True)
class Kit:
    """One kind of kit.

    Attributes:
        title: what it is, after "a kit: ".
        model: where the folder of the model lies in it.
        golden: where the golden cases lie, which an app does not ship.
        more: writes what else it has into its folder, and returns values for its templates.
        shared: the files of other kits that it has too, by what they are called in it.
    """

    title: str
    model: str = "model"
    golden: str = "golden"
    more: Callable[[Bundle, Path], Mapping[str, str]] = lambda *_: {}
    shared: Mapping[str, str] = field(default_factory=dict)


KITS: Mapping[str, Kit] = {
    "ios": Kit(
        "a Swift package for iOS and macOS",
        model="Sources/EdgeModel/Resources/model",
        golden="Sources/EdgeModelCheck/Resources/golden",
    ),
    "linux": Kit("Python and C++ on Linux: programs, a service, a camera loop"),
    "jetson": Kit(
        "Python and TensorRT on an NVIDIA Jetson",
        more=write_jetson,
        shared={
            "onnx_model.py": "linux/edge_model.py",
            "requirements.txt": "linux/requirements.txt",
            **{
                f"{each}.py": f"linux/{each}.py"
                for each in ("camera", "check", "run", "serve", "update")
            },
        },
    ),
    "android": Kit(
        "a Gradle module in Kotlin, and a sample app",
        model="edgemodel/src/main/assets/model",
        golden="edgemodel/src/androidTest/assets/golden",
    ),
    "web": Kit("a page and an ES module for browsers", more=write_web),
}


@dataclass(frozen=True)
class MadeKit:
    """A kit on disk: how many files, and bytes in all."""

    folder: Path
    files: int
    bytes: int


def make_kit(folder: Path, name: str, out: Path) -> MadeKit:
    """Make a kit of the bundle in `folder` and put it at `out` in one step.

    A kit that stands there is replaced where none of its files was changed. SpecError where there
    is no such kit, or something else stands there; UnsupportedError where no kit runs the bundle's
    task or tokenizer.
    """
    kit = _kit(name)
    bundle = open_bundle(folder)
    refuse_unfit(bundle)
    refuse_inside(bundle, out)
    _refuse_foreign(out)
    with finished_in(out) as draft:
        _write_code(draft, name, kit, bundle)
        write_model_folder(bundle, draft / kit.model)
        write_golden_cases(bundle, draft / kit.golden)
        listed = _digests(draft)
        text = "".join(f"{digest}\t{file}\n" for file, digest in listed.items())
        (draft / LISTED).write_text(text, encoding="utf-8")
    size = sum((out / each).stat().st_size for each in listed)
    return MadeKit(out, len(listed) + 1, size)


def _kit(name: str) -> Kit:
    if name not in KITS:
        raise SpecError(
            "no such kit",
            where="--for",
            found=repr(name),
            expected=", ".join(sorted(KITS)),
            fix=meant(name, KITS),
        )
    return KITS[name]


def _write_code(draft: Path, name: str, kit: Kit, bundle: Bundle) -> None:
    """Copy the files of a kit; what ends in ``.j2`` is a template."""
    source = Path(str(files("edgetransfer.kits"))) / "files"
    ignored = shutil.ignore_patterns("__*__*")
    shutil.copytree(source / name, draft, dirs_exist_ok=True, ignore=ignored)
    for own, other in kit.shared.items():
        shutil.copyfile(source / other, draft / own)
    preprocessing = bundle.preprocessing
    said = {
        "kit": kit,
        "kind": preprocessing.kind,
        "noun": preprocessing.noun,
        "title": bundle.target.title,
        "labels": len(bundle.labels),
        **kit.more(bundle, draft),
    }
    jinja = Environment(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    for template in sorted(draft.rglob(f"*{_RENDERED}")):
        text = jinja.from_string(template.read_text("utf-8")).render(said)
        template.with_suffix("").write_text(text.rstrip("\n") + "\n", encoding="utf-8")
        template.unlink()


def _digests(folder: Path) -> dict[str, str]:
    """Return the digest of every file below a folder, but of the list of them."""
    found = {each.relative_to(folder): each for each in sorted(folder.rglob("*"))}
    ours = {n: e for n, e in found.items() if e.is_file() and not _MADE_BY_TOOLS & {*n.parts}}
    return {n.as_posix(): digest_of(each) for n, each in ours.items() if n.name != LISTED}


def _refuse_foreign(out: Path) -> None:
    """Refuse a place where something stands that is no kit, or one that somebody changed."""
    if out.is_dir() and not out.is_symlink() and not any(out.iterdir()):
        return
    if not out.is_symlink() and not out.exists():
        return
    changed: Iterable[str] = ()
    if (out / LISTED).is_file():
        lines = text_of(out / LISTED, _LIST).splitlines()
        listed = {name: digest for digest, _, name in (each.partition("\t") for each in lines)}
        there = _digests(out)
        changed = sorted(name for name in {*listed, *there} if there.get(name) != listed.get(name))
        if not changed:
            return
    raise SpecError(
        "stands where the kit goes" + (", and was changed" if changed else ""),
        where=str(out),
        found=printable(", ".join(list(changed)[:5])) or None,
        expected="nothing, or a kit as `edgetransfer export` wrote it",
        fix="move it away, or name another folder with --out",
    )
