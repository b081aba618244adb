"""The cheap commands that README and docs print are run, and their Python for an app is too."""

import http.server
import importlib.util
import json
import re
import shlex
import shutil
import subprocess
import textwrap
import threading
from functools import partial
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from PIL import Image

import edgetransfer
from edgetransfer.errors import UnsupportedError
from edgetransfer.transport.browser import place as browser
from edgetransfer.transport.browser import runtime

ROOT = Path(__file__).parents[2]
spec = importlib.util.spec_from_file_location("pages", ROOT / "tests/contract/test_pages.py")
pages = importlib.util.module_from_spec(spec)
spec.loader.exec_module(pages)

HERE = "edgetransfer-out/this-machine"
# `bench` and `add-class` take seconds, and have tests of their own.
RUN = ("targets", "cache", "backbones list", "report", "predict", "plan", "head export")
ABSENT = re.compile(
    r"--(backbone|candidate|distill-from) (?!builtin:)|\.csv|many-classes|processes"
)
"""What a printed build may name that is not here: such a one is not planned."""


def texts():
    return [page.read_text(encoding="utf-8") for page in pages.PAGES]


def cheap():
    """Return the printed commands that are run; of a build, its plan."""
    found = {shlex.join(words) for text in texts() for whole, words in pages.printed(text) if whole}
    builds = {each for each in found if each.startswith("build ") and not ABSENT.search(each)}
    planned = {each.replace("build", "plan", 1) for each in builds}
    return sorted({each for each in found if each.startswith(RUN)} | planned)


@pytest.fixture
def place(built, pictures, tmp_path):
    """A folder that has what the pages name."""
    for name in (HERE, "BUNDLE", "NEW"):
        shutil.copytree(built.folders["this-machine"], tmp_path / name)
    for name in ("photos", "test-photos"):
        (tmp_path / name).symlink_to(pictures)
    for name in ("new-photos/disc", "new-photos/square", "more-photos", "folder"):
        (tmp_path / name).mkdir(parents=True)
        shape = Path(name).name if "/" in name else "stripes"
        shutil.copy(pictures / "test" / shape / "03.png", tmp_path / name)
    picture = Image.open(pictures / "test" / "disc" / "00.png")
    for name in ("cat.png", *(f"{each}.jpg" for each in ("cat", *"abcde"))):
        picture.save(tmp_path / name)
    (tmp_path / "new.csv").write_text("file\na.jpg\n")
    (recipe,) = re.findall(r"```toml\n(.*?)```", (ROOT / "docs/recipes.md").read_text(), re.DOTALL)
    (tmp_path / "recipe.toml").write_text(
        recipe.replace("./mobilenet_v2_1.0_224", "builtin:tiny-64")
    )
    return tmp_path


@pytest.mark.parametrize("printed", cheap())
def test_a_printed_command_runs(printed, place, cache, command, monkeypatch):
    monkeypatch.setenv("EDGETRANSFER_CACHE", str(cache))
    code, out, error = command(*shlex.split(printed))
    assert (code, error.count("error:")) == (0, 0), out + error


def snippets(language, opens):
    """Return the code of the pages that holds these words, each once."""
    fence = re.compile(rf"( *)```{language}\n(.*?)```", re.DOTALL)
    found = [textwrap.dedent(each).strip() for text in texts() for _, each in fence.findall(text)]
    return sorted({each for each in found if opens in each})


@pytest.mark.parametrize("code", snippets("python", "InferenceSession("))
def test_what_an_app_is_told_to_run_says_what_predict_says(code, built, place, monkeypatch, capsys):
    monkeypatch.chdir(place / HERE)
    shutil.copy(place / "cat.jpg", "picture.jpg")
    exec(code, {})
    (found,) = edgetransfer.predict(place / "BUNDLE", "picture.jpg")
    assert capsys.readouterr().out.strip() == found.best[0][0]


PAGE = """<pre id="said"></pre><script type="module">{first}
const said = (text) => {{ document.getElementById("said").textContent = text; }};
try {{
  const file = await (await fetch("cat.png")).blob();
{rest}
  said(JSON.stringify([...logits.data]));
}} catch (error) {{ said(String(error)); }}
</script>"""


@pytest.mark.parametrize("code", snippets("js", "createImageBitmap"))
def test_what_a_web_page_is_told_to_run_gives_the_outputs_of_the_model(code, place):
    try:
        program, files = browser.find(), runtime.prepared("wasm")
    except UnsupportedError as error:
        pytest.skip(str(error))
    folder = place / HERE
    for file in (*files.values(), place / "cat.png"):
        shutil.copy(file, folder)
    first, rest = code.replace("onnxruntime-web", f"./{next(iter(files))}").split("\n", 1)
    (folder / "index.html").write_text(PAGE.format(first=first, rest=rest))
    handler = partial(QuietHandler, directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/index.html"
        flags = ["--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=20000"]
        told = subprocess.run(
            [program, *flags, f"--user-data-dir={place / 'profile'}", "--dump-dom", url],
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        )
        server.shutdown()
    said = re.search(r"<pre[^>]*>(.*)</pre>", told.stdout)[1]
    session = onnxruntime.InferenceSession(folder / "model.onnx")
    picture = np.asarray(Image.open(place / "cat.png").convert("RGB"))[None]
    (logits,) = session.run(["logits"], {"picture": picture})
    assert json.loads(said) == pytest.approx(logits[0].tolist(), abs=1e-4)


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass
