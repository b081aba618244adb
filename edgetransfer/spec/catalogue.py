"""Finds targets, previews and calibration recipes: the shipped ones by name, others by path."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from edgetransfer.errors import SpecError
from edgetransfer.spec.base import Name, Spec, is_name
from edgetransfer.spec.outside import TOML, meant, toml_of, validated
from edgetransfer.spec.target import EmulatedProcessor, TargetSpec

VARIABLE = "EDGETRANSFER_CACHE"


def default_cache() -> Path:
    """Return the folder that the environment names, else the user's cache folder."""
    import platformdirs

    named = os.environ.get(VARIABLE)
    return Path(named) if named else Path(platformdirs.user_cache_dir("edgetransfer"))


_PACKAGED = Path(__file__).parent.parent / "_catalogue"
_CHECKOUT = Path(__file__).parent.parent.parent
_MAX_EXTENDS = 8
Kind = Literal["targets", "targets/previews", "calibration/recipes"]
_CALLED: Mapping[Kind, str] = {
    "targets": "target",
    "targets/previews": "emulated processor",
    "calibration/recipes": "calibration recipe",
}


class CalibrationRecipe(Spec):
    """How activation ranges are found."""

    name: Name
    method: Literal["auto", "minmax", "moving", "percentile", "entropy", "mse"] = "auto"
    examples: int = Field(64, ge=1, description="taken from the training split")
    percentile: float = Field(
        99.999,
        gt=50,
        le=100,
        description="of the activations, kept: half of the rest is clipped at either end",
    )
    small_head: Literal["float", "int8"] = Field(
        "float", description="a last layer with next to no weights: quieter, or the same bits"
    )


def shipped(name: str) -> Path:
    """Return a shipped folder or file. The working folder is none: it may be anybody's."""
    return _PACKAGED / name if (_PACKAGED / name).exists() else _CHECKOUT / name


def names(kind: Kind) -> list[str]:
    """Return every name that can be asked for, sorted."""
    return sorted(file.stem for file in shipped(kind).glob("*.toml"))


def _locate(kind: Kind, name: str, beside: Path | None = None) -> Path:
    """Find a shipped file by its name, or any ``.toml`` by its path, seen from a folder."""
    if name in names(kind):
        return shipped(kind) / f"{name}.toml"
    given = (beside or Path()) / name
    if given.suffix == ".toml" and os.path.lexists(given):
        return given
    mine = Path(kind) / f"{name}.toml"
    by_path = f"name the file by its path: {mine}" if is_name(name) and mine.is_file() else None
    raise SpecError(
        f"no {_CALLED[kind]} is called {name!r}",
        expected=", ".join(names(kind)) + ", or the path of a .toml file",
        fix=by_path or meant(name, names(kind), parts=True),
    )


def _merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        old: Any = merged.get(key)
        both = isinstance(old, dict) and isinstance(value, dict)
        merged[key] = _merge(old, value) if both else value
    return merged


def _raw_target(
    name: str, depth: int = 0, beside: Path | None = None
) -> tuple[dict[str, Any], Path]:
    file = _locate("targets", name, beside)
    raw = toml_of(file)
    if not isinstance(raw.get("extends"), str):
        return raw, file
    if depth == _MAX_EXTENDS:
        raise SpecError("the chain of `extends` does not end", where=str(file))
    base, _ = _raw_target(raw["extends"], depth + 1, file.parent)
    return _merge({k: v for k, v in base.items() if k != "device_class"}, raw), file


def target(name: str) -> TargetSpec:
    """Read one target by name or path, with what it extends merged in."""
    raw, file = _raw_target(name)
    return validated(TargetSpec, raw, file, TOML)


def class_of(arch: str, flags: frozenset[str]) -> TargetSpec | None:
    """Return the narrowest class that a machine belongs to, by its flags as Linux writes them."""
    known = [target(each) for each in names("targets")]
    classes = [c for c in known if c.device_class and c.isa and c.isa.matches(arch, flags)]

    def narrowness(target: TargetSpec) -> int:
        return 0 if target.isa is None else bool(target.isa.any_of) + len(target.isa.all_of)

    return max(classes, key=narrowness, default=None)


def resolve(name: str, arch: str, flags: frozenset[str]) -> TargetSpec:
    """Return a target ready for use; one that detects takes the class of the machine described.

    SpecError for an unknown or invalid target, or where no class matches the machine.
    """
    spec = target(name)
    if not spec.detect:
        return spec
    best = class_of(arch, flags)
    if best is None:
        raise SpecError(
            f"no target class matches this machine ({arch})",
            where=f"target {name}",
            fix="name a target yourself with --target",
        )
    mine = {name: getattr(spec, name) for name in ("name", "detect", "evidence", "reached")}
    taken = {"title": f"{spec.title} ({best.name})", "extends": best.name, "device_class": False}
    # This machine is timed: whether integers pay shows without a race of schemes.
    return best.model_copy(update={**mine, **taken, "schemes": ()})


def remembered(raw: Mapping[str, Any]) -> TargetSpec:
    """Return the target of a bundle; what older ones do not say of its device is said by ours.

    A target that is none of ours, and says nothing, is known by its instructions alone, which is
    not enough to be recognised.
    """
    held = dict(raw)
    if "device" not in held:
        shipped = frozenset(names("targets"))
        known = [target(n) for n in (held.get("name"), held.get("extends")) if n in shipped]
        for each in [spec for spec in known if not spec.detect][:1]:
            held |= each.model_dump(include={"device", "preview", "reached", "instead"})
        if held.get("name") == "this-machine":
            held |= {"detect": True, "reached": "local"}
    return TargetSpec.model_validate(held)


def calibration_recipe(name: str) -> CalibrationRecipe:
    """Read one calibration recipe by name or path."""
    file = _locate("calibration/recipes", name)
    return validated(CalibrationRecipe, toml_of(file), file, TOML)


def preview(name: str) -> EmulatedProcessor:
    """Read one emulated processor by name or path."""
    file = _locate("targets/previews", name)
    return validated(EmulatedProcessor, toml_of(file), file, TOML)
