"""Tiny data sets of pictures and of texts and one build of pictures, shared by the tests."""

import cProfile
import json
import os
import shutil
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from filelock import FileLock
from PIL import Image

import edgetransfer
from edgetransfer.bundle.agent_archive import installed_agent
from edgetransfer.cli import app
from edgetransfer.pipeline.ladder.trial import Trials
from edgetransfer.pipeline.stage.reached import FOLDER
from edgetransfer.pipeline.stage.store import Store
from edgetransfer.spec.progress import silent
from edgetransfer.tasks.classification.train import choice
from edgetransfer.transport import job, local
from tests.pipeline.agents import Fork, server

COUNTS = {"train": 12, "val": 6, "test": 20}
SHAPES = ("disc", "square", "stripes")
WORDS = {
    "weather": ["rain", "sun", "wind", "cloud", "storm", "snow", "warm", "cold"],
    "food": ["bread", "soup", "rice", "fish", "salt", "oven", "plate", "fork"],
    "money": ["bank", "coin", "price", "cash", "loan", "card", "debt", "tax"],
}
COMMON = ["the", "a", "is", "of", "and", "today", "very", "some"]


def draw(shape, rng):
    """Return uint8 [30, 36, 3]: one of three shapes, in noise."""
    rows, columns = np.mgrid[:30, :36]
    centre = rng.integers(10, 20), rng.integers(12, 24)
    distance = np.hypot(rows - centre[0], columns - centre[1])
    box = np.maximum(abs(rows - centre[0]), abs(columns - centre[1]))
    inside = {"disc": distance < 8, "square": box < 7, "stripes": columns // 3 % 2 == 0}[shape]
    picture = rng.integers(0, 60, (30, 36, 3)) + inside[..., None] * rng.integers(90, 190, 3)
    return picture.astype(np.uint8)


def write_pictures(root, seed=0):
    rng = np.random.default_rng(seed)
    for split, count in COUNTS.items():
        for shape in SHAPES:
            folder = root / split / shape
            folder.mkdir(parents=True)
            for index in range(count):
                Image.fromarray(draw(shape, rng)).save(folder / f"{index:02d}.png")
    return root


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def forked_agents(tmp_path_factory):
    """Let the agents of builds in this process be forks of one that has imported all they need."""
    agent, environment = installed_agent(), local.clean_environment(os.environ)
    room = tmp_path_factory.mktemp("agents")
    with server(agent, room, environment) as address, pytest.MonkeyPatch.context() as patch:

        def started(command, *, env, **how):
            if command[:-1] == [sys.executable, str(agent)] and env == environment:
                return Fork(address, command[-1], how["stderr"])
            return subprocess.Popen(command, env=env, **how)

        patch.setattr(
            local, "subprocess", SimpleNamespace(**{**vars(subprocess), "Popen": started})
        )
        yield


@pytest.fixture(scope="session", autouse=True)
def hasty():
    """Let builds take few times, and races be short: neither is what these tests are about."""
    kept, steps = dict(job.EFFORTS), choice.RACED_STEPS
    choice.RACED_STEPS = 2
    plan = job.TimingPlan(blocks=6, block_s=0.005, warmup_s=0.01, warmup_max_s=0.05)
    job.EFFORTS |= dict.fromkeys(("quick", "standard"), job.Effort(2, plan, most=2))
    yield kept
    job.EFFORTS |= kept
    choice.RACED_STEPS = steps


@pytest.fixture(scope="session", autouse=True)
def untimed():
    """Let no clock decide what is shipped: beside other work integers may look slow.

    `test_ladder` has a rung timed; builds in processes of their own time all.
    """
    kept = Trials._time
    times = {"p90_ms": 1.5, "cpu_ratio": 1.3, "cpu_ci95": [1.2, 1.4], "faster": True}
    Trials._time = lambda *_: dict(times)
    yield kept
    Trials._time = kept


@pytest.fixture(scope="session")
def shared(tmp_path_factory):
    """A folder of this run that all its workers have: what one of them made, no other makes."""
    own = tmp_path_factory.getbasetemp()
    folder = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "shared"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def pictures(shared):
    with FileLock(shared / "pictures.lock"):
        made = shared / "shapes"
        return made if made.exists() else write_pictures(made)


@pytest.fixture(scope="session")
def cache(shared):
    return shared / "cache"


@pytest.fixture(autouse=True)
def kept_as_it_is(request):
    """Find the test that leaves something in the bundle that all share."""
    yield
    if "built" in request.fixturenames:
        folder = request.getfixturevalue("built").folders["this-machine"]
        assert not (folder / "bench").exists()


@pytest.fixture(scope="session")
def ran():
    """What ran in the stages of `built`: stage -> (where its make stands, modules that ran)."""
    return {}


@contextmanager
def watching(found):
    """Note of every stage that is made which modules of ours run meanwhile, in this thread."""
    keep = Store.keep

    def watched(store, stage, progress=silent):
        profile = cProfile.Profile()
        watched = replace(stage, make=lambda out, _: profile.runcall(stage.make, out, silent))
        vars(watched)["key"] = stage.key
        kept = keep(store, watched, progress)
        codes = [entry.code for entry in profile.getstats()]
        files = {Path(code.co_filename) for code in codes if not isinstance(code, str)}
        parts = [f.relative_to(FOLDER).with_suffix("").parts for f in files if FOLDER in f.parents]
        ours = {".".join(("edgetransfer", *each)).removesuffix(".__init__") for each in parts}
        found[stage.name] = stage.modules, ours
        return kept

    Store.keep = watched
    yield
    Store.keep = keep


@pytest.fixture(scope="session")
def built(pictures, cache, ran, shared, tmp_path_factory):
    out, record = tmp_path_factory.mktemp("built"), shared / "ran.json"
    with FileLock(shared / "built.lock"):  # the second worker finds all stages kept
        if record.exists():
            told = json.loads(record.read_text())
            ran.update(
                {name: (tuple(modules), set(ours)) for name, (modules, ours) in told.items()}
            )
            return edgetransfer.build(pictures, out=out, cache=cache, timing="quick")
        with watching(ran):
            outcome = edgetransfer.build(pictures, out=out, cache=cache, timing="quick")
        told = {name: (list(modules), sorted(ours)) for name, (modules, ours) in ran.items()}
        record.write_text(json.dumps(told))
        return outcome


@pytest.fixture(scope="session")
def built_for(pictures, cache, built, tmp_path_factory):
    """Build for a target, from the stages that are there, and return the bundle's folder."""

    def build(target):
        out = tmp_path_factory.mktemp("built")
        made = edgetransfer.build(pictures, target=target, out=out, cache=cache, timing="quick")
        return made.folders[target]

    return build


@pytest.fixture(scope="session")
def begun(built, cache):
    """Make a cache in which there is what takes longest and is the same for all: the backbone."""

    def begin(folder):
        ignored = shutil.ignore_patterns(".partial*")
        shutil.copytree(cache / "backbone", folder / "backbone", ignore=ignored)
        return folder

    return begin


@pytest.fixture
def command(monkeypatch, capsys, tmp_path):
    """Run the command line in this process; return exit code, standard output and error."""

    def run(*words):
        argv = ["edgetransfer", *map(str, words)]
        monkeypatch.setattr(sys, "argv", argv)
        monkeypatch.chdir(tmp_path)
        with pytest.raises(SystemExit) as stopped:
            app.main()
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err + captured.out
        return stopped.value.code, captured.out, captured.err

    return run


@pytest.fixture(scope="session")
def encoder(shared):
    """A random BERT: its residual stream carries the word embeddings, so words differ."""
    transformers = pytest.importorskip("transformers", reason="the extra `hf` is not installed")
    with FileLock(shared / "encoder.lock"):
        folder = shared / "encoder"
        if not folder.exists():
            _write_encoder(folder, transformers)
    return folder


def _write_encoder(folder, transformers):
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    folder.mkdir()
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *COMMON, *(w for ws in WORDS.values() for w in ws)]
    vocabulary = {word: index for index, word in enumerate(words)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    save_encoder(folder, tokenizer, transformers)


def save_encoder(folder, tokenizer, transformers):
    """Write a tokenizer, and a small random BERT for its tokens."""
    tokenizer.save(str(folder / "tokenizer.json"))
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=tokenizer.get_vocab_size(), hidden_size=64, num_hidden_layers=2,
        num_attention_heads=2, intermediate_size=64, max_position_embeddings=64,
    )  # fmt: skip
    transformers.BertModel(config).save_pretrained(folder, safe_serialization=True)


@pytest.fixture(scope="session")
def texts(shared):
    rng = np.random.default_rng(0)
    rows = ["text,label,split,source"]
    for split, count in (("train", 30), ("validation", 10), ("test", 40)):
        for label, words in WORDS.items():
            for index in range(count):
                picked = [*rng.choice(words, 2), *rng.choice(COMMON, rng.integers(1, 9))]
                rows.append(f"{' '.join(rng.permutation(picked))} {index},{label},{split},web")
    return _written(shared, "texts.csv", "\n".join(rows) + "\n")


@pytest.fixture(scope="session")
def more(shared):
    """Texts without labels, and one of the labelled set's."""
    rng = np.random.default_rng(7)
    lines = [
        " ".join(rng.permutation([*rng.choice(words, 2), *rng.choice(COMMON, 4)]))
        for words in WORDS.values()
        for _ in range(40)
    ]
    return _written(shared, "more.txt", "\n".join(dict.fromkeys(lines)) + "\n")


def _written(folder, name, text):
    """Write a file that another worker may be writing or reading: the same text, in one step."""
    file = folder / name.partition(".")[0] / name
    file.parent.mkdir(exist_ok=True)
    fresh = file.with_suffix(f".{os.getpid()}")
    fresh.write_text(text)
    fresh.replace(file)
    return file
