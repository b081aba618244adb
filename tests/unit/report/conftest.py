"""Reports as `make_report` writes them, of seeded synthetic facts, and a manifest to go with."""

import numpy as np
import pytest

from edgetransfer.agent.outputs import Outputs
from edgetransfer.measure.measurement import Measurement, Timing
from edgetransfer.measure.plain import Missing
from edgetransfer.measure.proofs import (
    Contract,
    Export,
    Integrity,
    IntendedPrecision,
    Port,
    Proofs,
    Repeats,
    TensorParity,
    Twice,
)
from edgetransfer.measure.record import make_report
from edgetransfer.measure.speed.latency import Samples
from edgetransfer.measure.target_match import Standing
from edgetransfer.spec.budget import Budget
from edgetransfer.tasks.classification.task import TASK

DIGITS = tuple(str(i) for i in range(10))
FLOWERS = (*(f"species {i:03d}" for i in range(118)), "<script>alert('x')</script>", "long " * 40)


SHA = "60e0cc15d775fec18f47031b284189a5f9ae3f3d7f6006c7396c1e905fbd270e"
MEMORY = {
    "reference": {
        "load_delta_mib": 21.4,
        "peak_mib": 88.2,
        "peak_includes_start_up": False,
    },
    "candidate": {
        "load_delta_mib": 9.7,
        "peak_mib": 71.93,
        "peak_includes_start_up": False,
    },
}
LOAD = {
    "reference": {"load_ms": 41.2, "first_inference_ms": 9.31},
    "candidate": {"load_ms": 63.8, "first_inference_ms": 4.05},
}
MACHINE = {
    "cpu": "Intel(R) Xeon(R) Processor @ 2.90GHz",
    "arch": "x86_64",
    "isa": ["avx2", "avx512_vnni", "avx512f"],
    "cores": 2,
    "memory_mib": 7946,
    "governor": None,
    "load_average": 0.34,
    "os": "Linux 6.1.0",
    "libc": "glibc 2.36",
    "python": "3.11.2",
    "numpy": "2.4.0",
    "runtime": "onnxruntime 1.32.0",
    "warnings": [],
    "measured_at": "2026-11-23 09:41:07+00:00",
}
VALID = {
    "valid": True,
    "violations": [],
    "measured_on_target": True,
    "deterministic": {"reference": True, "candidate": True},
    "not_warmed_up": [],
}
TARGET = {
    "name": "this-machine",
    "title": "the machine that builds (x86-vnni)",
    "runtime": {"name": "onnxruntime", "provider": "CPUExecutionProvider", "opset": 20},
    "evidence": {
        "status": "measured",
        "source": "measured during every build",
        "date": "2026-11-22",
    },
}
BACKBONE = {
    "source": "mobilenet_v2_1.0_224",
    "digest": SHA,
    "licence": None,
    "parameters": 2_223_872,
    "macs": 300_774_272,
    "feature_dim": 1280,
    "preprocessing": {"kind": "image", "shortest_edge": 256, "crop": [224, 224]},
}
COMPRESSION = {
    "precision": "w8a8",
    "scheme": {"activation": "u8", "weight": "s8", "per_channel": True},
    "calibration": {
        "recipe": {"name": "default", "method": "minmax"},
        "examples": 64,
        "digest": SHA,
    },
}


def proofs(candidate, int8=52, floats=()):
    """What a run on this machine proves."""
    few = Outputs({"logits": candidate[:32].astype(np.float32)})
    waves = np.sin(np.arange(few.size)).reshape(few["logits"].shape)
    ports = (Port("input", "float32", ("batch", 3, 224, 224)), Port("logits", "float32", (1, 2)))
    return Proofs(
        contract=Contract(
            {"core.onnx": ports}, {"core.onnx": ports}, 20, 10, "onnxruntime 1.32.0", "1.19.2"
        ),
        integrity=Integrity({"core.onnx": (SHA, SHA), "model.onnx": (SHA, SHA)}, 2e-6, 14.2, 12),
        preprocessing=TensorParity(1.0, 0.004, 12),
        export=Export(3.1e-5, 14.2, 0.9999998, 16, 0),
        fusion=Twice.of(few, Outputs({"logits": few["logits"] + np.float32(0.01) * waves}), TASK),
        repeats=Repeats(
            {"reference": True, "candidate": True},
            32,
            {
                "1 and 2 threads": Twice.of(few, few, TASK),
                "batches of 1 and 8": Missing("one batch only"),
            },
        ),
        intended=IntendedPrecision(int8, floats),
    )


def samples(ms, seed, spread=0.05):
    rng = np.random.default_rng(seed)
    tables = []
    for _ in range(3):
        block = np.repeat(np.arange(8), 25)
        wall = ms * 1e6 * rng.lognormal(0, spread, len(block)) * rng.normal(1, 0.01)
        wall[rng.random(len(wall)) < 0.03] *= 1.4
        cpu = wall * 0.98
        tables.append(np.stack([block, wall, cpu], axis=1).astype(np.int64))
    return Samples.from_processes(tables)


def make_facts(n, labels, *, noise=0.05, signal=5.0, **more):
    rng = np.random.default_rng(7)
    classes = len(labels)
    truth = rng.permutation(np.arange(n) % classes)
    reference = rng.normal(size=(n, classes))
    reference[np.arange(n), truth] += signal
    candidate = reference + noise * rng.normal(size=(n, classes))
    given = {
        "target": "this-machine",
        "labels": labels,
        "reference": Outputs({"logits": reference.astype(np.float32)}),
        "candidate": Outputs({"logits": candidate.astype(np.float32)}),
        "truth": truth,
        "budget": Budget(),
        "core": Timing(samples(7.4, 1), samples(3.1, 2)),
        "end_to_end": Timing(samples(11.2, 3, 0.08), samples(6.6, 4, 0.08)),
        "reference_bytes": 8_947_200,
        "candidate_bytes": 2_498_211,
        "residency": {"float_conv": 0, "int8_conv": 52, "float_ops": ["Gemm /classifier/Gemm"]},
        "memory": MEMORY,
        "load": LOAD,
        "environment": MACHINE,
        "validity": VALID,
        "proofs": proofs(candidate),
    }
    return Measurement(**{"task": TASK, **given, **more})


def make_manifest(fit=None):
    tried = [
        {"strength": 0.001 * 3**i, "log_loss": 0.21 - 0.02 * i, "accuracy": 0.93 + 0.005 * i}
        for i in range(5)
    ]
    return {
        "schema": "edgetransfer.bundle/1",
        "task": "image classification",
        "target": TARGET,
        "recipe": {"data": {"source": "hymenoptera", "label_column": None}, "seed": 0},
        "data": {
            "digest": SHA,
            "splits": {
                "train": {"digest": SHA, "examples": 195},
                "validation": {"digest": SHA[::-1], "examples": 49},
                "test": {"digest": SHA[8:], "examples": 153},
            },
            "dropped": {"duplicate of a test example": 3},
            "notes": ["no test set was given, so the given validation set is the test set"],
        },
        "backbone": BACKBONE,
        "fit": fit
        or {
            "method": "probe",
            "strength": 0.01,
            "folds": 5,
            "cross_validated": tried,
            "held_out": {"metric": "top1", "value": 0.959, "n": 244, "by": "5 folds"},
        },
        "export": {"max_abs": 3.1e-5, "range": 14.2, "min_cosine": 0.9999998, "n": 16},
        "compression": COMPRESSION,
        "session": {"threads": 1, "config": {}},
        "seed": 0,
        "versions": {"edgetransfer": "0.1.0", "torch": "2.13.0", "onnxruntime": "1.32.0"},
        "files": {"model.onnx": SHA, "core.onnx": SHA[::-1], "golden/000.png": SHA},
    }


def in_groups(n, column, values):
    rng = np.random.default_rng(3)
    return {column: [values[i] for i in rng.integers(len(values), size=n)]}


def cases():
    limits = Budget(
        max_drop_pp=2, max_latency_ms=6, max_size_mib=4, max_flips_pct=5, min_sqnr_db=20
    )
    elsewhere = {"valid": True, "violations": [], "measured_on_target": False}
    untimed = {"core": None, "end_to_end": None}
    return {
        "pass": make_facts(153, ("ants", "bees"), signal=3, noise=0.003, budget=limits),
        "inconclusive": make_facts(
            400,
            DIGITS,
            noise=0.35,
            signal=4,
            groups=in_groups(400, "speaker", ["jackson", "lucas", "nicolas", "theo", ""]),
        ),
        "fail": make_facts(
            1200,
            FLOWERS,
            noise=1.1,
            signal=4.2,
            metric="macro-f1",
            budget=Budget(max_size_mib=2),
            residency={
                "float_conv": 17,
                "int8_conv": 35,
                "float_ops": [f"Conv /features/{i}/conv/Conv" for i in range(17)],
            },
            ladder=[
                {
                    "rung": "post-training",
                    "status": "misses",
                    "why": "loses 4.00 pp of 2 allowed",
                    "accuracy": 0.9,
                    "accuracy_ci95": [0.85, 0.94],
                    "examples": 200,
                    "flips": 8,
                    "sqnr_db": 9.1,
                    "p90_ms": 2.0,
                    "cpu_ratio": 0.9,
                    "slower": True,
                    "bytes": 1_000_000,
                    "seconds": 3.21,
                    "noisiest_layers": ["a.weight", "b.weight"],
                    "shipped": False,
                },
                {"rung": "32-bit floats", "status": "holds", "shipped": True},
            ],
        ),
        "unverified": make_facts(
            153,
            ("ants", "bees"),
            **untimed,
            signal=3,
            target="raspberry-pi-5",
            validity=elsewhere,
            memory={},
            load={},
            standing=Standing("preview", ("measured on x86_64, the target is arm64",)),
            verify_with="to verify: edgetransfer bench out/raspberry-pi-5 --data photos",
        ),
        "unlabelled": make_facts(80, DIGITS, truth=None, budget=Budget(min_sqnr_db=20)),
        "fp32": make_facts(
            153,
            ("ants", "bees"),
            noise=0.0,
            precision="fp32",
            candidate_bytes=8_951_000,
            residency={"float_conv": 52, "int8_conv": 0, "float_ops": ["Conv a"] * 52},
            proofs=proofs(np.ones((32, 2)), 0, tuple(f"/{i}" for i in range(52))),
        ),
    }


@pytest.fixture(scope="session")
def reports():
    return {name: make_report(facts) for name, facts in cases().items()}


@pytest.fixture(scope="session")
def manifest():
    return make_manifest()
