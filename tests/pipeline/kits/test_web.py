"""The kit for the web in Chromium: isolated or not, without a server, and made wrong on purpose."""

import json
import shutil
import subprocess
from contextlib import contextmanager

import numpy as np
import pytest

import edgetransfer
from edgetransfer.errors import EdgeTransferError
from edgetransfer.kits.files.linux.edge_model import lines_of
from edgetransfer.kits.push import push
from edgetransfer.transport.browser import runtime
from tests.chromium import opened
from tests.pipeline.kits.conftest import LABELS
from tests.pipeline.kits.server import served

READY = "document.documentElement.dataset.ready !== undefined"
CHECK = """(async () => {
  const { check } = await import("./check.js");
  return check(globalThis.model);
})()"""


@pytest.fixture(scope="module", autouse=True)
def prepared():
    try:
        runtime.prepared("wasm")
    except EdgeTransferError as error:
        pytest.skip(str(error))


def wait(tab, expression, tries=400):
    asked = f"""(async () => {{
      for (let i = 0; i < {tries} && !({expression}); i++)
        await new Promise((go) => setTimeout(go, 50));
      return Boolean({expression});
    }})()"""
    assert tab.say(asked), tab.say("document.body.innerText") + str(tab.errors)


@contextmanager
def page(folder, *, isolated=True):
    with served(folder, isolated=isolated) as (server, url), opened(url) as tab:
        wait(tab, READY)
        yield tab, server, url


def text_of(tab, name):
    return tab.say(f"document.getElementById('{name}').innerText")


@pytest.mark.parametrize("isolated", [True, False])
@pytest.mark.parametrize("kind", ["picture", "text"])
def test_golden_cases_are_as_on_the_build_host(kind, isolated, picture_bundle, text_bundle, kit):
    folder = kit({"picture": picture_bundle, "text": text_bundle}[kind], "web")
    with page(folder, isolated=isolated) as (tab, _, _):
        found = tab.say(CHECK)
        assert found["wrong"] == []
        assert found["worst"] < 1e-4
        assert found["isolated"] == isolated
        assert len(found["milliseconds"]) == 50
        assert len(found["cases"]) == len(lines_of(folder / "golden" / "golden.tsv")) - 1
        assert tab.errors == []


def test_what_it_measures_is_judged(picture_bundle, kit, command, tmp_path):
    bundle = tmp_path / "bundle"
    shutil.copytree(picture_bundle, bundle)
    with page(kit(bundle, "web")) as (tab, _, _):
        tab.say("document.getElementById('check').click()")
        wait(tab, "!document.getElementById('save').hidden")
        assert text_of(tab, "checked").startswith("16 cases, 0 wrong; logits off by ")
        told = tab.say("fetch(document.getElementById('save').href).then((each) => each.text())")
    (tmp_path / "measured.json").write_text(told)
    code, out, _ = command("report", bundle, "--measured", "measured.json")
    assert code == 0
    assert "web on Mozilla/5.0" in " ".join(out.split())


def test_it_works_when_the_server_is_gone(text_bundle, kit):
    with page(kit(text_bundle, "web")) as (tab, server, url):
        wait(tab, "navigator.serviceWorker.controller")
        server.shutdown()
        server.server_close()
        tab.errors.clear()
        tab.open(url)
        wait(tab, READY)
        assert text_of(tab, "state") == "Ready: type a text."
        found = tab.say("globalThis.model.classify('alpha bird the of 7')")
        (wanted,) = edgetransfer.predict(text_bundle, "alpha bird the of 7")
        first = found["labels"][0]
        assert (first["name"], first["probability"]) == (
            wanted.best[0][0], pytest.approx(wanted.best[0][1], abs=1e-4),
        )  # fmt: skip


def test_labels_that_would_do_harm_are_shown_as_they_are(text_bundle, kit):
    with page(kit(text_bundle, "web")) as (tab, _, _):
        for text in ("alpha bird the", "even fish of", "iron jump a", "moon nest and"):
            tab.say(f"document.getElementById('text').value = {text!r}")
            tab.say("document.querySelector('#texts button').click()")
            wait(tab, "document.getElementById('state').innerText.startsWith('Answered')")
            shown = tab.say(
                "[...document.querySelectorAll('#labels th')].map((e) => e.textContent)"
            )
            assert len(shown) == 3
            assert set(shown) <= set(LABELS)
            tab.say("document.getElementById('state').innerText = ''")
        assert tab.say("document.querySelectorAll('main b, main script').length") == 0
        assert tab.errors == []


def test_a_picture_by_the_keyboard_and_what_is_none(picture_bundle, kit):
    folder = kit(picture_bundle, "web")
    with page(folder) as (tab, _, _):
        assert tab.say("document.getElementById('file').tabIndex") == 0
        document = tab.do("DOM.getDocument")["root"]["nodeId"]
        file = tab.do("DOM.querySelector", nodeId=document, selector="#file")["nodeId"]
        tab.do("DOM.setFileInputFiles", nodeId=file, files=[str(folder / "golden" / "turned.jpg")])
        wait(tab, "document.getElementById('state').innerText.startsWith('Answered')")
        (wanted,) = edgetransfer.predict(picture_bundle, folder / "golden" / "turned.jpg")
        shown = tab.say("document.querySelector('#labels th').textContent")
        assert shown == wanted.best[0][0]
        tab.do("DOM.setFileInputFiles", nodeId=file, files=[str(folder / "README.md")])
        wait(tab, "document.getElementById('state').innerText.startsWith('not a picture')")
        assert tab.say("document.getElementById('answer').hidden")


def edited(name, *pairs):
    """Return what exchanges words in a file of a kit."""

    def edit(folder):
        file = folder / name
        text = file.read_text(encoding="utf-8")
        for old, new in pairs:
            assert old in text
            text = text.replace(old, new)
        file.write_text(text, encoding="utf-8")

    return edit


def other_model(folder):
    shutil.copyfile(folder.parent / "core.onnx", folder / "model" / "model.onnx")


PICTURES = {
    "red and blue exchanged": (
        edited(
            "edge-model.js",
            ("= data[from];", "= data[from + 1 + 1];"),
            ("= data[from + 2];", "= data[from];"),
        ),
        "decode 00: red and blue are exchanged",
    ),
    "EXIF ignored": (
        edited(
            "edge-model.js",
            ("createImageBitmap(source,", "createImageBitmap(await bare(source),"),
            (
                "export class EdgeModel {",
                """async function bare(source) {
  const bytes = new Uint8Array(await source.arrayBuffer());
  const at = bytes.findIndex((_, i) => String.fromCharCode(...bytes.slice(i, i + 4)) === "Exif");
  if (at >= 0) bytes[at] = 0;
  return new Blob([bytes]);
}
export class EdgeModel {""",
            ),
        ),
        "decode turned: 48 x 36 pixels, expected 36 x 48: it was not turned as its EXIF block says",
    ),
    "made smaller by the nearest pixel": (
        edited(
            "edge-model.js",
            ("const upright = {", 'const upright = { resizeWidth: 32, resizeQuality: "pixelated",'),
        ),
        "decode 00: 32 x 27 pixels, expected 36 x 30",
    ),
    "clear pixels black": (
        edited("edge-model.js", ('fillStyle = "white"', 'fillStyle = "black"')),
        "decode transparent: bytes are off by ",
    ),
}  # fmt: skip


@pytest.mark.parametrize("fault", PICTURES)
def test_a_copy_that_is_made_wrong_says_what_is(fault, picture_bundle, kit):
    change, told = PICTURES[fault]
    folder = kit(picture_bundle, "web")
    change(folder)
    with page(folder) as (tab, _, _):
        wrong = tab.say(CHECK)["wrong"]
        assert any(line.startswith(told) for line in wrong), wrong


def test_pictures_that_are_not_normalised(picture_bundle, kit):
    """The preparation is in the model: another model is what gives it up."""
    import onnx

    folder = kit(picture_bundle, "web")
    model = onnx.load(folder / "model" / "model.onnx")
    for each in model.graph.initializer:
        if each.name == "pre/shift":
            each.CopyFrom(
                onnx.numpy_helper.from_array(
                    np.zeros_like(onnx.numpy_helper.to_array(each)), each.name
                )
            )
    onnx.save(model, folder / "model" / "model.onnx")
    with page(folder) as (tab, _, _):
        wrong = tab.say(CHECK)["wrong"]
        assert any(line.startswith("model 0") and "logits are off by" in line for line in wrong), (
            wrong
        )


def test_ids_that_are_put_around_a_text_wrongly(text_bundle, kit):
    folder = kit(text_bundle, "web")
    edited("model/model.tsv", ("before\t", "before\t3,"))(folder)
    with page(folder) as (tab, _, _):
        wrong = tab.say(CHECK)["wrong"]
        assert wrong[0].startswith("tokens 00: ids [3, ")


def test_a_model_of_another_contract(text_bundle, kit):
    folder = kit(text_bundle, "web")
    edited("model/model.tsv", ("contract\t1", "contract\t2"))(folder)
    with page(folder) as (tab, _, _):
        assert text_of(tab, "state") == "a model of contract 2, this kit reads 1"


@pytest.fixture
def updatable(text_bundle, kit):
    """A page whose models are in a folder beside it, with one that is newer than its own."""
    folder = kit(text_bundle, "web")
    push(text_bundle, folder / "models", "1")
    with page(folder) as (tab, _, _):
        tab.say("import('./update.js').then((made) => { globalThis.made = made; })")
        yield tab, folder


UPDATE = "made.update('./models').catch((error) => 'error ' + error.message)"


def test_a_newer_model_is_fetched_and_given_back(updatable):
    tab, _ = updatable
    assert tab.say(UPDATE) == "1"
    assert tab.say(UPDATE) == ""
    assert tab.say("made.newest().then((read) => read('model.tsv')).then((each) => each.ok)")
    tab.say("made.back()")
    assert tab.say("made.newest().then((read) => read === undefined)")


def test_a_model_with_another_digest_is_not_taken(updatable):
    tab, folder = updatable
    (folder / "models" / "1" / "labels.txt").write_text("a\nb\nc\nd\n")
    assert "labels.txt: the digest is " in tab.say(UPDATE)
    assert tab.say("made.newest().then((read) => read === undefined)")
    assert not any(
        "edge-model-" in each and "state" not in each for each in tab.say("caches.keys()")
    )


def test_a_model_that_fails_its_cases_is_not_taken(updatable, text_bundle):
    """Its digests are right: it was wrong when it was pushed."""
    from edgetransfer.bundle.files import digest_of
    from edgetransfer.kits.model_folder import list_files

    tab, folder = updatable
    place = folder / "models" / "1"
    edited("golden/golden.tsv", ("\tlogits", "\tlogits"))(place)
    rows = lines_of(place / "golden" / "golden.tsv")
    name, text, ids, logits = rows[1].split("\t")
    rows[1] = "\t".join((name, text, ids, ",".join(str(float(e) + 9) for e in logits.split(","))))
    (place / "golden" / "golden.tsv").write_text("\n".join(rows) + "\n")
    list_files(place)
    line = f"1\t1\t1\t{digest_of(place / 'files.tsv')}\n"
    (folder / "models" / "index.tsv").write_text(line)
    assert tab.say(UPDATE).startswith(
        "error the new model fails its golden cases here: model 00: logits are off by "
    )
    assert tab.say("made.newest().then((read) => read === undefined)")


@pytest.mark.parametrize("kind", ["picture", "text"])
def test_axe_finds_nothing_serious(kind, picture_bundle, text_bundle, kit):
    folder = kit({"picture": picture_bundle, "text": text_bundle}[kind], "web")
    with page(folder) as (tab, _, _):
        assert tab.faults() == {}


def test_the_package_is_packed_by_npm(text_bundle, kit, tmp_path):
    if shutil.which("npm") is None:
        pytest.skip("npm is not installed")
    folder = kit(text_bundle, "web")
    done = subprocess.run(
        ["npm", "pack", "--json", "--dry-run"], cwd=folder, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    (told,) = json.loads(done.stdout)
    packed = {each["path"] for each in told["files"]}
    assert {
        "edge-model.js",
        "edge-model.d.ts",
        "model/model.onnx",
        "ort/ort.wasm.min.mjs",
    } <= packed
    assert not any(each.startswith(("golden", "transformers")) for each in packed)


def test_the_runtime_that_is_not_prepared(text_bundle, monkeypatch, command, tmp_path):
    monkeypatch.setattr(runtime, "folder", lambda: tmp_path / "nothing")
    code, _, err = command("export", text_bundle, "--for", "web", "--out", "kit")
    assert code == 6
    assert err.endswith("  fix: edgetransfer doctor --prepare browser\n")
    assert not (tmp_path / "kit").exists()
