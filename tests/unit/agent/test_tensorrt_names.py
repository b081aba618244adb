"""Every name of TensorRT that the agent uses is held by the bindings of 10.3 to 11.4.

`tensorrt_attributes.json` was read from the real bindings (scripts/tensorrt_attributes.py; `make
test-tensorrt` reads it again), so what NVIDIA removed cannot come in unnoticed.
"""

import ast
import json
from pathlib import Path

import pytest

from edgetransfer.agent.runtimes.tensorrt import build, session
from edgetransfer.agent.runtimes.tensorrt.build import version_of

HELD = json.loads((Path(__file__).parent / "tensorrt_attributes.json").read_text())
MODULES = [Path(each.__file__) for each in (build, session)]
CLASSES = {
    "trt": "module",
    "builder": "Builder",
    "network": "INetworkDefinition",
    "parser": "OnnxParser",
    "error": "ParserError",
    "config": "IBuilderConfig",
    "profile": "IOptimizationProfile",
    "cache": "ITimingCache",
    "tensor": "ITensor",
    "layer": "ILayer",
    "inspector": "EngineInspector",
    "_runtime": "Runtime",
    "_engine": "ICudaEngine",
    "_context": "IExecutionContext",
}
"""What the agent's code calls its objects of TensorRT."""
OURS = {"cache": {"take", "timings", "keep", "keep_timings"}}
"""What an object of ours that has such a name is asked."""
PLAIN = {
    "flag", "layers", "plan", "engine", "version", "name", "names", "modes", "log", "built",
    "timings",
}  # fmt: skip
"""Variables that hold a number, bytes, or what only goes into an attribute above."""
WEAK_ONLY = {"precision", "FP16", "INT8", "OBEY_PRECISION_CONSTRAINTS"}
"""What 11 removed: touched where TensorRT is older than 10.12 alone."""
RTX_ONLY = {"num_compute_capabilities", "set_compute_capability", "ComputeCapability"}
"""Of TensorRT-RTX alone; touched where a build names a compute capability."""


def called(node):
    """What a receiver is called: `builder` or, of `self._engine`, `_engine`."""
    if isinstance(node, ast.Name):
        return node.id
    return node.attr if isinstance(node, ast.Attribute) else None


def uses(source):
    """Every (class, attribute) that a module touches on objects of TensorRT."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Attribute):
            continue
        base = node.value
        name = called(base)
        if isinstance(base, ast.Attribute) and called(base.value) == "trt":
            found.add((base.attr, node.attr))
        elif name in CLASSES and node.attr not in OURS.get(name, ()):
            found.add((CLASSES[name], node.attr))
    return {each for each in found if not any(name.startswith("__") for name in each)}


def unknown_receivers(source):
    """Variables that take what an object of TensorRT gave, and that `CLASSES` does not know."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Assign) or not isinstance(node.value, ast.Call):
            continue
        function = node.value.func
        if isinstance(function, ast.Attribute) and called(function.value) in CLASSES:
            found |= {called(each) for each in node.targets}
    return found - CLASSES.keys() - PLAIN


SOURCE = "\n".join(file.read_text(encoding="utf-8") for file in MODULES)
USES = uses(SOURCE)


@pytest.mark.parametrize("version", sorted(HELD))
def test_every_name_is_held(version):
    held = HELD[version]
    spared = RTX_ONLY | (WEAK_ONLY if version_of(version) >= (10, 12) else set())
    missing = {f"{of}.{name}" for of, name in USES if name not in spared and name not in held[of]}
    assert missing == set()


def test_what_11_removed_is_touched_for_old_versions_alone():
    tree = ast.parse(Path(build.__file__).read_text(encoding="utf-8"))
    (inside,) = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef) and node.name == "_hold_types"
    ]
    (asked,) = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "_hold_types" in ast.unparse(node)
    ]
    assert ast.unparse(asked.test) == "not typed"
    tree.body.remove(inside)
    assert {name for _, name in uses(ast.unparse(inside))} >= WEAK_ONLY
    assert not {name for _, name in uses(ast.unparse(tree))} & WEAK_ONLY


def test_the_walk_sees_what_is_used():
    for each in [
        ("NetworkDefinitionCreationFlag", "STRONGLY_TYPED"),
        ("BuilderFlag", "TF32"),
        ("IBuilderConfig", "progress_monitor"),
        ("IExecutionContext", "execute_async_v3"),
        ("EngineInspector", "get_engine_information"),
    ]:
        assert each in USES


def test_no_object_of_tensorrt_goes_unseen():
    assert unknown_receivers(SOURCE) == set()


@pytest.mark.parametrize(
    "line",
    [
        "config.set_flag(trt.BuilderFlag.FP16)",
        "config.int8_calibrator = None",
        "tensor.dynamic_range = (0, 1)",
        "builder.platform_has_fast_fp16",
        "parser.supports_model(b'')",
        "self._engine.device_memory_size",
    ],
)
def test_a_removed_name_would_be_found(line):
    held = HELD["11.4.0.106"]
    assert [name for of, name in uses(line) if name not in held[of]]


def test_a_new_object_would_be_found():
    assert unknown_receivers("refitter = builder.create_refitter()") == {"refitter"}


def test_what_only_rtx_has_is_behind_its_condition():
    for file in MODULES:
        tree = ast.parse(file.read_text(encoding="utf-8"))
        guarded = {
            id(inner)
            for node in ast.walk(tree)
            if isinstance(node, ast.If)
            and "compute_capability is not None" in ast.unparse(node.test)
            for inner in ast.walk(node)
        }
        touched = [
            node
            for node in ast.walk(tree)
            if isinstance(node, ast.Attribute) and node.attr in RTX_ONLY
        ]
        assert all(id(node) in guarded for node in touched)
