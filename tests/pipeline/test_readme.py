"""The README of a bundle of pictures: its code says what `predict` says, its list is whole."""

import re
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import numpy as np
import pytest
from PIL import Image

import edgetransfer
from edgetransfer.backbone.sources import load_onnx, locate, opened_with
from edgetransfer.bundle.opened import open_bundle
from edgetransfer.errors import EdgeTransferError
from edgetransfer.transport.browser import place as browser
from edgetransfer.transport.browser import runtime
from tests.pipeline.phone import jvm
from tests.pipeline.readme_code import in_python, printed

PAGE = """<!doctype html><script type="importmap">
{"imports": {"onnxruntime-web": "/ort.wasm.min.mjs"}}</script>
<script type="module">
const tell = (words) => fetch("/told", { method: "POST", body: words });
console.log = (...words) => tell(words.join(" "));
try {
  globalThis.file = await (await fetch("picture.jpg")).blob();
  await import("/code.mjs");
} catch (error) { tell("error " + error); }
</script>"""


@pytest.fixture
def folder(built):
    return built.folders["this-machine"]


@pytest.fixture
def sideways(pictures, tmp_path):
    """A picture that EXIF turns, and what `predict` says of it."""
    file = tmp_path / "picture.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.open(pictures / "test" / "stripes" / "01.png").save(file, exif=exif)
    return file


@pytest.fixture
def predicted(folder, sideways):
    (found,) = edgetransfer.predict(folder, sideways)
    return found.best[0]


def test_python(folder, sideways, predicted, monkeypatch, capsys):
    label, share = in_python(folder, monkeypatch, capsys, '"picture.jpg"', repr(str(sideways)))
    assert (label, share) == (predicted[0], pytest.approx(predicted[1], rel=1e-5))


def test_javascript_in_a_browser(folder, sideways, predicted, tmp_path):
    try:
        program, files = browser.find(), runtime.prepared("wasm")
    except EdgeTransferError as error:
        pytest.skip(str(error))
    for name, file in {**files, **{n: folder / n for n in ("model.onnx", "labels.txt")}}.items():
        (tmp_path / name).symlink_to(file)
    (tmp_path / "code.mjs").write_text(printed(folder, "js"))
    (tmp_path / "page.html").write_text(PAGE)
    told, done = [], threading.Event()

    class Served(SimpleHTTPRequestHandler):
        extensions_map: ClassVar = {
            ".mjs": "text/javascript", ".html": "text/html", "": "text/plain",
        }  # fmt: skip

        def do_POST(self):
            told.append(self.rfile.read(int(self.headers["Content-Length"])).decode())
            self.send_response(204)
            self.end_headers()
            done.set()

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Served, directory=tmp_path))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}/page.html"
    with server, browser.opened(program, url, "wasm"):
        assert done.wait(120)
        server.shutdown()
    label, share = told[0].rsplit(" ", 1)
    # the browser's JPEG decoder is another one
    assert (label, float(share)) == (predicted[0], pytest.approx(predicted[1], abs=0.02))


@pytest.fixture
def jar(folder, tmp_path):
    return jvm.compiled(printed(folder, "kotlin"), tmp_path)


@pytest.fixture
def tinted(folder, tmp_path):
    """A picture of noise that is clearly of another class where red and blue change places."""
    rng, files, swapped = np.random.default_rng(0), [], []
    for number in range(60):
        noise = rng.integers(0, 256, (30, 36, 3), np.uint8)
        for found, name, picture in ((files, "rgb", noise), (swapped, "bgr", noise[..., ::-1])):
            found.append(tmp_path / f"{name}{number}.png")
            Image.fromarray(np.ascontiguousarray(picture)).save(found[-1])

    def margin(place):
        one, other = (dict(told[place].best) for told in both)
        first, second = max(one, key=one.get), max(other, key=other.get)
        return min(one[first] - one[second], other[second] - other[first])

    both = [edgetransfer.predict(folder, each) for each in (files, swapped)]
    clearest = max(range(len(files)), key=margin)
    assert margin(clearest) > 0.05
    return files[clearest]


def test_kotlin(jar, folder, pictures, tinted, tmp_path, monkeypatch, capsys):
    files = [pictures / "test" / name / "01.png" for name in ("disc", "square", "stripes")]
    files.append(tinted)
    expected = [
        in_python(folder, monkeypatch, capsys, '"picture.jpg"', repr(str(file)))[0]
        for file in files
    ]
    assert jvm.run(jar, folder, files, jvm.BITMAP, tmp_path) == expected


def test_every_file_is_told_of(folder):
    bundle, text = open_bundle(folder), (folder / "README.md").read_text(encoding="utf-8")
    rows = [line.split("`")[1] for line in text.splitlines() if line.startswith("| `")]
    there = {re.sub("^((measure/)?[^/]+/?).*", r"\1", name) for name in bundle.manifest["files"]}
    assert set(rows) - {"manifest.json", "report.json"} == there - {"README.md"}
    assert "\n\n| `" not in text  # each table is whole
    ships, measures = text.index("## What ships"), text.index("## What measures")
    for name, wanted in {
        "model.onnx": ships,
        "labels.txt": ships,
        "measure/core.onnx": measures,
    }.items():
        place = text.index(f"| `{name}` |")
        assert (place > wanted, place < measures) == (True, wanted == ships)


def test_the_floats_of_a_bundle_are_a_backbone(folder):
    """They lie in measure/, and their contract beside `model.onnx`."""
    file = folder / "measure" / "reference.onnx"
    found = load_onnx(locate(str(file)), "image")
    bundle = open_bundle(folder)
    assert (found.labels, found.preprocessing) == (bundle.labels, bundle.preprocessing)
    assert opened_with(file) == {
        "reference.onnx": file,
        **{name: folder / name for name in ("labels.txt", "preprocess.json")},
    }


def test_it_begins_with_the_verdict(folder, built):
    lines = (folder / "README.md").read_text(encoding="utf-8").splitlines()
    verdict = built.reports["this-machine"]["verdict"]
    assert lines[0] == f"# A model of pictures for {open_bundle(folder).target.title}"
    assert lines[2].startswith(f"**{verdict}**: ")
