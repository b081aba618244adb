"""What `--fit auto` comes to beside a plain probe: test accuracy, five seeds of split and start.

Usage: python benchmarks/auto.py RESULT.json [CACHE] [DATA/BACKBONE ...]

Every seed draws the validation set anew, and is judged on the same test set, which neither method
has seen. Stages are kept in CACHE, so a run that was stopped goes on.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch

from edgetransfer.agent.environment import fingerprint
from edgetransfer.agent.runtime import build as runtime_facts
from edgetransfer.backbone import sources as backbones
from edgetransfer.pipeline.fitting import fit
from edgetransfer.pipeline.reporter import SilentReporter
from edgetransfer.pipeline.run import Run
from edgetransfer.pipeline.store import Store
from edgetransfer.spec.options import recipe_from
from edgetransfer.transfer.features import run_over

SHARED = Path(__file__).parents[2] / "shared"
CASES = ("hymenoptera/mobilenet_v2_1.0_224",)
SEEDS = range(5)


def measure(data: str, backbone: str, seed: int, method: str, store: Store) -> dict[str, Any]:
    """Fit, and judge the float network on the test set."""
    recipe = recipe_from(
        {
            "data": str(SHARED / "datasets" / data),
            "backbone": str(SHARED / "backbones" / backbone),
            "seed": seed,
            "fit": method,
        }
    )
    source = backbones.locate(recipe.backbone.source)
    fitted = fit(Run(recipe, (), source, store, SilentReporter()))
    test = fitted.manifest.split("test")
    logits = run_over(onnx.load(fitted.graph), fitted.preparer(), test)
    right = logits.argmax(axis=1) == fitted.manifest.label_index(test)
    record = fitted.facts["fit"]
    return {
        "accuracy": float(right.mean()),
        "n": len(test),
        "took": record["method"],
        "why": record.get("why"),
    }


def main() -> None:
    """Print a line a seed, and write all."""
    torch.set_num_threads(1)
    store = Store(Path(sys.argv[2] if len(sys.argv) > 2 else tempfile.mkdtemp()))
    rows = []
    for case in sys.argv[3:] or CASES:
        data, backbone = case.split("/")
        seeds = []
        for seed in SEEDS:
            seeds.append({m: measure(data, backbone, seed, m, store) for m in ("probe", "auto")})
            print(case, seed, json.dumps(seeds[-1]), flush=True)
        means = {m: float(np.mean([each[m]["accuracy"] for each in seeds])) for m in seeds[0]}
        rows.append({"case": case, "mean": means, "seeds": seeds})
        print(case, means, flush=True)
        record = {"environment": fingerprint(runtime_facts()), "rows": rows}
        Path(sys.argv[1]).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
