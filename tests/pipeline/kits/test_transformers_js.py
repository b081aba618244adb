"""transformers.js opens `transformers/` of the kit for the web, in node and in Chromium.

`make test-web` fetches it. What it gives is compared with what the kit's Python gives.
"""

import json
import re
import shutil
import subprocess
from http import HTTPStatus
from pathlib import Path

import numpy as np
import pytest

from edgetransfer.bundle.opened import open_bundle
from edgetransfer.bundle.readers import read_golden
from edgetransfer.errors import EdgeTransferError
from edgetransfer.kits.files.linux.edge_model import EdgeModel, decode, lines_of
from edgetransfer.transport.browser import runtime
from tests.chromium import opened
from tests.pipeline.kits.conftest import LABELS
from tests.pipeline.kits.server import served
from tests.pipeline.readme_code import MODULES

PACKAGE = "@huggingface/transformers"
WASM = "ort-wasm-simd-threaded.asyncify"
ANSWERS = """
async function answers({ env, pipeline, RawImage }, kind, options, given) {
  env.allowRemoteModels = false;
  env.allowLocalModels = true;
  const quiet = { session_options: { intraOpNumThreads: 1, logSeverityLevel: 3 } };
  const run = await pipeline(`${kind}-classification`, "transformers", { ...quiet, ...options });
  const found = [];
  for (const each of given) {
    const text = kind === "text";
    const prepared = text
      ? run.tokenizer(each, { padding: true, truncation: true })
      : await run.processor(await RawImage.read(each));
    const { logits } = await run.model(prepared);
    const ids = text ? [...prepared.input_ids.data].map(Number) : [];
    const [{ label }] = await run(each, { top_k: 1 });
    found.push({ ids, logits: [...logits.data], label });
  }
  if (kind === "image") return { found };
  const together = await run(given, { top_k: 1 });
  return { found, together: together.flat().map(({ label }) => label) };
}
"""


@pytest.fixture(scope="module", autouse=True)
def present():
    if not Path(MODULES or "/absent", PACKAGE).is_dir():
        pytest.skip(f"EDGETRANSFER_TEST_NODE_MODULES names no node_modules with {PACKAGE}")
    try:
        runtime.prepared("wasm")
    except EdgeTransferError as error:
        pytest.skip(str(error))


def in_node(folder, room, kind, options, given):
    (room / "node_modules").symlink_to(Path(MODULES).resolve())
    (room / "run.mjs").write_text(
        f'import * as transformers from "{PACKAGE}";\nimport fs from "node:fs";\n{ANSWERS}'
        "const [folder, kind, options] = process.argv.slice(2);\n"
        "transformers.env.localModelPath = `${folder}/`;\n"
        'const given = JSON.parse(fs.readFileSync(0, "utf8"));\n'
        "const told = await answers(transformers, kind, JSON.parse(options), given);\n"
        "console.log(JSON.stringify(told));\n"
    )
    done = subprocess.run(
        ["node", room / "run.mjs", folder, kind, json.dumps(options)],
        input=json.dumps([str(folder / each) if kind == "image" else each for each in given]),
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return json.loads(done.stdout.splitlines()[-1])


def in_chromium(folder, _, kind, options, given):
    """Run it in a page; all files are of this server, nothing is fetched from elsewhere."""
    package = Path(MODULES, PACKAGE)
    own = package / "node_modules" / "onnxruntime-web"
    ort = own if own.is_dir() else Path(MODULES, "onnxruntime-web")
    for file in (package / "dist" / "transformers.min.js", *ort.glob(f"dist/{WASM}.*m*")):
        shutil.copyfile(file, folder / file.name)
    (folder / "empty.html").write_text(
        '<!doctype html><title>empty</title><link rel="icon" href="data:,">'
    )
    with served(folder) as (_, url), opened(url + "empty.html") as tab:
        told = tab.say(
            f"""(async () => {{
              {ANSWERS}
              const transformers = await import("/transformers.min.js");
              transformers.env.localModelPath = "/";
              transformers.env.backends.onnx.wasm.wasmPaths =
                {{ mjs: "/{WASM}.mjs", wasm: "/{WASM}.wasm" }};
              const options = {json.dumps(options)};
              return answers(transformers, {json.dumps(kind)}, options, {json.dumps(given)});
            }})()"""
        )
        asked = tab.say(
            "performance.getEntriesByType('resource').map((e) => [e.name, e.responseStatus])"
        )
        assert [name for name, _ in asked if not name.startswith(url)] == []
        absent = [name.removeprefix(url) for name, status in asked if status != HTTPStatus.OK]
        # so it finds out whether a model has a tokenizer
        assert absent == ["transformers/tokenizer_config.json"] * (kind == "image")
        assert len(tab.errors) == len(absent)
        return told


PLACES = pytest.mark.parametrize("place", [in_node, in_chromium])


def cases_of(folder):
    """Return the golden cases, by the names of the columns."""
    head, *rows = (line.split("\t") for line in lines_of(folder / "golden" / "golden.tsv"))
    return [dict(zip(head, row, strict=True)) for row in rows]


def plain(text):
    letters = {"t": "\t", "n": "\n", "r": "\r", "0": "\0", "\\": "\\"}
    return re.sub(r"\\(.)", lambda found: letters[found[1]], text)


def close(numbers):
    return pytest.approx(np.ravel(numbers).tolist(), abs=1e-4)


@PLACES
def test_texts_are_read_as_the_kit_reads_them(place, text_bundle, kit, tmp_path):
    folder = kit(text_bundle, "web")
    model = EdgeModel(folder / "model")
    cases = cases_of(folder)
    told = place(folder, tmp_path, "text", {}, [plain(each["text"]) for each in cases])
    for case, each in zip(cases, told["found"], strict=True):
        ids = [int(one) for one in case["input_ids"].split(",")]
        if case["name"] == "long":  # it leaves out the last [SEP], as docs/web.md says
            ids = each["ids"]
            assert len(ids) == int(model.settings["longest"])
        logits = model.logits(ids)
        assert each["ids"] == ids, case["name"]
        assert each["logits"] == close(logits), case["name"]
        assert each["label"] == model.labels[logits.argmax()]
    assert {each["label"] for each in told["found"]} <= set(LABELS)
    assert len(told["together"]) == len(cases)


@PLACES
def test_pictures_are_prepared_by_the_network(place, picture_bundle, kit, tmp_path):
    folder = kit(picture_bundle, "web")
    # it drops the transparency that a kit lays over white, and reads CMYK as sharp does
    cases = [each for each in cases_of(folder) if each["name"] not in ("transparent", "cmyk")]
    told = place(folder, tmp_path, "image", {}, [f"golden/{each['file']}" for each in cases])
    model = EdgeModel(folder / "model")
    for case, each in zip(cases, told["found"], strict=True):
        logits = model.logits(decode(folder / "golden" / case["file"]))
        if case["levels"] == "0":
            assert each["logits"] == close(logits), case["name"]
        assert each["label"] == model.labels[logits.argmax()], case["name"]


@pytest.mark.parametrize("kind", ["image", "text"])
def test_the_network_in_floats(kind, picture_bundle, text_bundle, kit, tmp_path):
    bundle = {"image": picture_bundle, "text": text_bundle}[kind]
    folder = kit(bundle, "web")
    cases = [each for each in cases_of(folder) if each["name"].isdigit()]
    given = [f"golden/{e['file']}" if kind == "image" else plain(e["text"]) for e in cases]
    told = in_node(folder, tmp_path, kind, {"dtype": "fp32"}, given)
    index = read_golden(open_bundle(bundle).file("golden/index.json"))
    wanted = [close(each["reference"]["logits"]) for each in index]
    assert [each["logits"] for each in told["found"]] == wanted
