"""D4: an agent or a page that hangs, or answers nonsense, ends in one message."""

import time

import numpy as np
import pytest

from edgetransfer.errors import StageError
from edgetransfer.transport import job as jobs
from edgetransfer.transport import local
from edgetransfer.transport.browser.exchange import Exchange, Listener, PageTimeouts
from edgetransfer.transport.job import (
    Job,
    SustainedLoad,
    ThrottleGuard,
    TimingPlan,
    Variant,
    patience_s,
)
from edgetransfer.transport.local import Local
from edgetransfer.transport.outcome import Transcript, checked

ONE = (Variant("a", "/models/a.onnx"),)
OUTPUTS = Job("outputs", ONE)
GOOD = {"outputs": ["logits"], "load_ms": 1.0, "first_inference_ms": 1.0, "deterministic": True}
DEEP = "[" * 5000


def message(call):
    with pytest.raises(StageError) as told:
        call()
    return str(told.value)


@pytest.mark.parametrize(
    "body",
    [
        "import time; time.sleep(600)",
        "import time; print('{', end='', flush=True); time.sleep(600)",
        "import subprocess; subprocess.call(['sleep', '600'])",  # holds the pipe open
    ],
)
def test_a_hanging_agent_is_ended(agent, out, monkeypatch, body):
    monkeypatch.setattr(jobs, "SILENT_S", 0.4)
    began = time.monotonic()
    assert message(lambda: local.run(agent(body), OUTPUTS, out)) == (
        "/models/a.onnx: the agent did not finish the job 'outputs'\n"
        "  found: killed by SIGKILL. it said nothing for 0 s, and was ended"
    )
    assert time.monotonic() - began < 10


def test_an_agent_that_says_how_far_it_is_may_take_its_time(agent, out, monkeypatch):
    monkeypatch.setattr(jobs, "SILENT_S", 0.8)
    body = """
    import time
    for done in range(6):
        time.sleep(0.3)
        emit(event="progress", done=done, total=6)
    emit(event="result", n=1)
    """
    assert local.run(agent(body), OUTPUTS, out)["n"] == 1


def test_patience_grows_with_the_job():
    few = patience_s(Job("time", ONE, TimingPlan(blocks=1)))
    many = patience_s(Job("time", ONE * 2, TimingPlan(blocks=500), guard=ThrottleGuard(60.0)))
    assert jobs.SILENT_S < few < many
    assert patience_s(Job("sustain", ONE, sustained=SustainedLoad(1800.0))) > 1800
    assert patience_s(OUTPUTS, emulated=True) == 10 * patience_s(OUTPUTS)


@pytest.mark.parametrize(
    ("result", "told"),
    [
        ({}, "outputs: Field required; load_ms: Field required; "
             "first_inference_ms: Field required; deterministic: Field required"),
        ({**GOOD, "load_ms": "1"}, "load_ms: should be a valid number (found '1')"),
        ({**GOOD, "peak_mib": []}, "peak_mib: should be a valid number (found [])"),
        ({**GOOD, "model": 1}, "model: should be an object (found 1)"),
    ],
)  # fmt: skip
def test_an_answer_of_another_form(agent, out, result, told):
    place = Local(agent(f"emit(event='result', **{result!r})"))
    assert message(lambda: place.run(OUTPUTS, out)) == (
        f"local, job 'outputs': {told}\n  expected: what our agent says"
    )


@pytest.mark.parametrize(
    ("write", "told"),
    [
        ("pass", "no such file"),
        ("open(OUT, 'wb').write(b'junk')", "no array of numbers in NumPy's format"),
        ("import numpy as np; np.save(OUT, np.float32(3))", "float32 []"),
        ("import numpy as np; np.save(OUT, np.zeros((3, 2), np.int64))", "int64 [3, 2]"),
        ("os.mkfifo(OUT)", "a named pipe, no file"),
    ],
)
def test_arrays_that_are_none(agent, out, write, told):
    file = out / "output-0.npy"
    place = Local(agent(f"OUT = {str(file)!r}\n{write}\nemit(event='result', **{GOOD!r})"))
    found = message(lambda: place.run(OUTPUTS, out))
    assert found.startswith(f"{file}: not a readable array of the agent\n  found: {told}")


@pytest.mark.parametrize(
    "line",
    ["", "\0\x1b[2J", DEEP, "9" * 5000, "[]", "null", '{"event": []}', '{"event": "progress"}',
     '{"event": "progress", "done": "1", "total": 2}'],
)  # fmt: skip
def test_lines_that_say_nothing(line):
    told = []
    heard = Transcript(lambda *words: told.append(words))
    heard.line(line)
    assert (heard.result, told) == (None, [])


def test_a_binary_answer(agent, out):
    place = Local(agent("sys.stdout.buffer.write(bytes(range(256)) * 100)"))
    assert message(lambda: place.run(OUTPUTS, out)) == (
        "/models/a.onnx: the agent did not finish the job 'outputs'\n"
        "  found: exit code 0, but no result."
    )


@pytest.mark.parametrize("action", ["describe", "time", "sustain", "energy"])
def test_every_kind_of_answer_has_a_form(action, tmp_path):
    assert "Field required" in message(lambda: checked(Job(action, ONE), {}, tmp_path, "there"))


def test_times_need_their_arrays(tmp_path):
    result = {"warmed_up": {"a": True}, "load_ms": {"a": 1}, "first_inference_ms": {"a": 1}}
    result |= {"turns": [], "floor_ns": 1, "waited_s": 0}
    result["probe"] = {"baseline_ns": 1, "rel_iqr": 0}
    job = Job("time", ONE)
    assert "a.npy: not a readable array" in message(lambda: checked(job, result, tmp_path, "x"))
    np.save(tmp_path / "a.npy", np.zeros((4, 3), np.int64))
    assert checked(job, result, tmp_path, "x") == result


class _NoArrays:
    digests = dict


@pytest.mark.parametrize(
    "said",
    [{"event": "progress"}, {"event": "progress", "done": [], "total": {}}, {"event": ["x"]},
     {"event": "step", "text": {"a": [1]}}],
)  # fmt: skip
def test_a_page_that_says_odd_things_is_heard_out(said):
    exchange = Exchange()
    listener = Listener(exchange, _NoArrays(), lambda *_: None, PageTimeouts())
    for each in (said, {"event": "error", "text": "out of \x1b[2Jmemory"}):
        exchange.messages.put(each)
    assert message(lambda: listener.follow("outputs", "browser", lambda: None)).startswith(
        "browser: the browser did not finish the job 'outputs'\n  found: out of \\x1b[2Jmemory; "
    )


def test_turns_of_a_hidden_page_that_are_none():
    exchange = Exchange()
    listener = Listener(exchange, _NoArrays(), lambda *_: None, PageTimeouts())
    exchange.messages.put({"event": "result", "hidden": True, "turns": [1, {"marks": 2}, {}]})
    turns = listener.follow("time", "browser", lambda: None)["turns"]
    assert turns == [1, {"marks": 2}, {"marks": ["page in the background"]}]
