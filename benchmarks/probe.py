"""The probe against scikit-learn's logistic regression on the same features: accuracy and time.

Usage: python benchmarks/probe.py [RESULT.json]

Every data set with every backbone of ../shared. Features are taken once; both methods see the same
training rows (train alone, validation left out) and are judged on the test set. scikit-learn runs
with its default C = 1 and with C = 0.1 on the raw features, one BLAS thread, as ours does.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from edgetransfer.agent.environment import fingerprint
from edgetransfer.agent.runtimes.onnxruntime import build as runtime_facts
from edgetransfer.backbone import sources as backbones
from edgetransfer.data import sources
from edgetransfer.graph.prepare import preparer
from edgetransfer.pipeline.fit.trace import proving_batch, traced
from edgetransfer.spec.recipe import DataSpec
from edgetransfer.tasks.classification.head.probe import fit_probe
from edgetransfer.tasks.classification.labels import CLASSES
from edgetransfer.transfer.features import run_over

SHARED = Path(__file__).parents[2] / "shared"
BACKBONES = {
    "mobilenet_v2_1.0_224": str(SHARED / "backbones" / "mobilenet_v2_1.0_224"),
    "mobilenet_v1_0.25_128": str(SHARED / "backbones" / "mobilenet_v1_0.25_128"),
    "tiny-64": "builtin:tiny-64",
}
DATA = ("hymenoptera", "fsdd-spectrograms")


def measure(data: str, backbone: str) -> dict[str, Any]:
    """Compare on one data set and backbone."""
    manifest = sources.load(DataSpec(source=str(SHARED / "datasets" / data)), CLASSES, seed=0)
    opened = backbones.load(backbones.locate(BACKBONES[backbone]), "image")
    prepare = preparer(opened.preprocessing, None)
    graph, _ = traced(opened.network, proving_batch(manifest, prepare))
    train, test = manifest.split("train"), manifest.split("test")
    start = time.process_time()
    rows, judged = run_over(graph, prepare, train), run_over(graph, prepare, test)
    one_pass_s = (time.process_time() - start) * len(train) / (len(train) + len(test))
    truth, answers = manifest.label_index(train), manifest.label_index(test)
    start = time.process_time()
    probe = fit_probe(rows, truth)
    seconds = time.process_time() - start
    ours = float((probe.head.logits(judged).argmax(axis=1) == answers).mean())
    row = {
        "data": data, "backbone": backbone, "train": len(train), "test": len(test),
        "ours": ours, "strength": probe.strength, "probe_cpu_s": round(seconds, 2),
        "one_float_pass_cpu_s": round(one_pass_s, 2),
    }  # fmt: skip
    with threadpool_limits(limits=1):
        for strength in (1.0, 0.1):
            model = LogisticRegression(C=strength, max_iter=1000).fit(rows, truth)
            row[f"sklearn C={strength}"] = float((model.predict(judged) == answers).mean())
    best = max(row["sklearn C=1.0"], row["sklearn C=0.1"])
    row["ours_minus_best_pp"] = round(100 * (ours - best), 2)
    return row


def main() -> None:
    """Print the table, and write it where the caller asks."""
    rows = [measure(data, backbone) for data in DATA for backbone in BACKBONES]
    for row in rows:
        print(json.dumps(row))
    if len(sys.argv) > 1:
        record = {"environment": fingerprint(runtime_facts()), "rows": rows}
        Path(sys.argv[1]).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
