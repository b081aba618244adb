"""The server gives the page and one job's files to one page that knows the token, and no more."""

import contextlib
import http.client
import itertools
import json
import socket
import threading
import time

import numpy as np
import pytest

from edgetransfer.transport.browser import server as browser_server
from edgetransfer.transport.browser.exchange import Arrays, Errand, Exchange
from edgetransfer.transport.browser.server import serving
from edgetransfer.transport.job import Job, TimingPlan, Variant

VISITOR = {"X-Visitor": "phone"}


@pytest.fixture
def job(tmp_path):
    np.save(tmp_path / "x.npy", np.arange(6, dtype=np.float32).reshape(2, 3))
    (tmp_path / "core.onnx").write_bytes(b"the model")
    variant = Variant("candidate", str(tmp_path / "core.onnx"), {"x": str(tmp_path / "x.npy")})
    return Job("outputs", (variant,), TimingPlan(blocks=1), seed=3)


@pytest.fixture
def exchange(job):
    exchange = Exchange()
    exchange.offer(Errand.of(job, "wasm"))
    return exchange


@pytest.fixture
def server(exchange, tmp_path, monkeypatch):
    monkeypatch.setattr(browser_server, "_FAREWELL_S", 0.01)  # nobody here asks to be told
    (tmp_path / "ort.wasm").write_bytes(b"\0asm")
    with serving(exchange, {"ort.wasm": tmp_path / "ort.wasm"}) as server:
        yield server


@pytest.fixture
def ask(server):
    """Ask the server for a path below the token; return status, headers and body."""

    def ask(path, *, method="GET", body=None, below=True, **headers):
        line = f"/{server.token}/{path}" if below else path
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
        connection.request(method, line, body, {**VISITOR, **named})
        answer = connection.getresponse()
        found = answer.status, dict(answer.getheaders()), answer.read()
        connection.close()
        return found

    return ask


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("", "text/html; charset=utf-8"),
        ("page.js", "text/javascript; charset=utf-8"),
        ("page.css", "text/css; charset=utf-8"),
        ("ort/ort.wasm", "application/wasm"),
    ],
)
def test_files_come_with_their_type_and_isolated(ask, path, kind):
    status, headers, body = ask(path)
    assert status == 200
    assert len(body) == int(headers["Content-Length"]) > 0
    assert headers["Content-Type"] == kind
    assert headers["Cross-Origin-Opener-Policy"] == "same-origin"
    assert headers["Cross-Origin-Embedder-Policy"] == "require-corp"
    assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Cache-Control"] == "no-store"
    assert "default-src 'none'" in headers["Content-Security-Policy"]


@pytest.mark.parametrize(
    "line", ["/", "/page.js", "/wrong/page.js", "/%s" % ("a" * 12), "//page.js"]
)
def test_without_the_token_there_is_nothing(ask, line):
    assert ask(line, below=False)[0] == 404


@pytest.mark.parametrize(
    "path",
    [
        *("../../../../etc/passwd", "..%2f..%2fetc/passwd", "/etc/passwd", "ort/../page.js"),
        *("ort/", "ort", "page", "browser_server.py", "ort/core.onnx"),
    ],
)
def test_no_path_of_the_file_system_is_served(ask, path):
    assert ask(path)[0] == 404


def test_a_foreign_name_is_refused(ask, server):
    assert ask("", Host="evil.example")[0] == 403
    assert ask("", Host=f"evil.example:{server.port}")[0] == 403
    assert ask("", Host=f"localhost:{server.port}")[0] == 200


def test_a_foreign_origin_is_refused(ask, server):
    assert ask("next", Origin="http://evil.example")[0] == 403
    assert ask("next", Origin=f"http://127.0.0.1:{server.port}")[0] == 200


def test_the_job_and_its_files(ask, exchange, job):
    told = json.loads(ask("next")[2])
    number = told["number"]
    assert number == exchange.errand.number
    assert told["action"] == "outputs"
    assert told["engine"] == {
        "module": "ort.wasm.min.mjs",
        "binary": "ort-wasm-simd-threaded.wasm",
        "provider": "wasm",
        "threads": 1,
    }
    assert told["variants"] == [
        {"name": "candidate", "inputs": ["x"], "config": {}, "count": 2, "chosen": [0, 1]}
    ]
    assert ask(f"{number}/model/0")[2] == b"the model"
    status, headers, body = ask(f"{number}/example/0/1/0")
    assert (status, headers["X-Type"], headers["X-Shape"]) == (200, "float32", "[1, 3]")
    np.testing.assert_array_equal(np.frombuffer(body, np.float32), [3, 4, 5])
    for absent in ("model/2", "example/1/0/0", "example/0/2/0", "example/0/0/1"):
        assert ask(f"{number}/{absent}")[0] == 404


def test_the_page_that_comes_first_is_the_only_one(ask):
    assert ask("next")[0] == 200
    assert ask("next", X_Visitor="another")[0] == 409
    assert ask("next", X_Visitor="")[0] == 409


def test_an_answer_that_got_lost_is_given_again(ask, exchange):
    first, again = (json.loads(ask("next")[2]) for _ in range(2))
    assert first["number"] == again["number"] == exchange.errand.number
    ask(f"{first['number']}/say", method="POST", body=b'{"event": "result"}')
    assert exchange.errand is None


def test_a_page_that_is_gone_does_not_take_the_next_ones_job(ask, exchange, job):
    exchange.withdraw()
    told = []
    waiting = threading.Thread(target=lambda: told.append(ask("next", X_Visitor="gone")[2]))
    waiting.start()
    assert exchange.await_visitor(30)
    exchange.free()
    exchange.offer(Errand.of(job, "wasm"))
    waiting.join(30)
    assert told == [b"null"]
    assert json.loads(ask("next")[2])["number"] == exchange.errand.number


def test_files_of_a_job_that_is_over_are_gone(ask, exchange):
    number = json.loads(ask("next")[2])["number"]
    exchange.withdraw()
    assert ask(f"{number}/model/0")[0] == 410
    assert (
        ask(f"{number}/array/output-0?type=float32&shape=1", method="POST", body=b"1234")[0] == 410
    )


def test_messages_and_arrays_come_through_as_they_are(ask, exchange):
    number = json.loads(ask("next")[2])["number"]
    rows = np.array([[1.5, -0.0], [np.nan, 3e-45]], dtype=np.float32)
    path = f"{number}/array/output-0?type=float32&shape=2,2"
    assert ask(path, method="POST", body=rows.tobytes())[0] == 200
    assert ask(f"{number}/say", method="POST", body=b'{"event": "result", "n": 1}')[0] == 200
    array = exchange.messages.get_nowait()
    assert (array["event"], array["name"]) == ("array", "output-0")
    assert array["array"].tobytes() == rows.tobytes()
    assert exchange.messages.get_nowait() == {"event": "result", "n": 1}


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("array/candidate?type=float32&shape=1", b"1234", 404),  # a job for outputs, not for times
        ("array/output-0?type=float32&shape=2", b"1234", 400),
        ("array/output-0?type=object&shape=1", b"1234", 400),
        ("array/output-0", b"1234", 400),
        ("say", b"[1]", 400),
        ("say", b"\xff", 400),
    ],
)
def test_what_cannot_be_read_is_refused(ask, exchange, path, body, status):
    number = json.loads(ask("next")[2])["number"]
    assert ask(f"{number}/{path}", method="POST", body=body)[0] == status
    assert exchange.messages.empty()


def test_a_message_that_is_too_long_is_not_read(ask, exchange):
    number = exchange.errand.number
    length = {"Content_Length": str(2**40)}
    assert ask(f"{number}/say", method="POST", body=b"{}", **length)[0] == 413


def test_who_waits_for_a_job_hears_of_the_end_and_no_thread_is_left(exchange, tmp_path):
    exchange.withdraw()
    before = threading.active_count()
    told = []
    with serving(exchange, {}) as server:

        def wait():
            connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
            connection.request("GET", f"/{server.token}/next", headers=VISITOR)
            told.append(json.loads(connection.getresponse().read()))
            connection.close()

        waiting = threading.Thread(target=wait)
        waiting.start()
        assert exchange.await_visitor(30)
        # A connection that never says anything must not hold the server either.
        silent = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
        silent.connect()
    waiting.join(30)
    silent.close()
    assert told == [{"action": "end"}]
    assert threading.active_count() == before


def test_a_page_that_asks_only_after_the_end_hears_of_it(exchange, tmp_path):
    told = []
    with serving(exchange, {}) as server:
        assert exchange.admits("phone")

        def ask():
            time.sleep(0.3)
            connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
            connection.request("GET", f"/{server.token}/next", headers=VISITOR)
            told.append(json.loads(connection.getresponse().read()))
            connection.close()

        asking = threading.Thread(target=ask)
        asking.start()
    asking.join(30)
    assert told == [{"action": "end"}]


def test_the_order_of_the_blocks_is_the_agents(job):
    import random

    from edgetransfer.agent.timing import Clock, measure

    variants = (job.variants[0], Variant("reference", "r.onnx", job.variants[0].inputs))
    plan = TimingPlan(blocks=6)
    order = Errand.of(Job("time", variants, plan, seed=7), "wasm").told["order"]
    calls = {name: lambda: None for name in ("candidate", "reference")}
    ticks = itertools.count()
    clock = Clock(lambda: next(ticks), lambda: 0)
    turns = measure(calls, TimingPlan(6, 1e-6, 0.0, 0.0), 7, clock).turns
    assert [name for names in order for name in names] == [turn["name"] for turn in turns]
    assert random.Random(7).sample(["candidate", "reference"], 2) == order[0]


def test_times_are_written_as_the_agent_writes_them(tmp_path):
    Arrays("time", tmp_path).take("candidate", np.array([[0.0, 1.25], [1.0, 0.005]]))
    rows = np.load(tmp_path / "candidate.npy")
    assert rows.dtype == np.int64
    assert rows.tolist() == [[0, 1_250_000, 0], [1, 5_000, 0]]


def test_the_page_stands_in_no_frame(ask):
    headers = ask("")[1]
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
    assert headers["X-Frame-Options"] == "DENY"


def test_a_body_is_not_read_before_the_visitor_is_known(ask, exchange):
    """Fault E6: up to 2 GiB were read from anybody who knew the token."""
    number = exchange.errand.number
    assert ask("next")[0] == 200
    huge = {"method": "POST", "body": b"", "Content_Length": str(2**31 - 1)}
    for path in ("say", "array/output-0?shape=1&type=float32"):
        assert ask(f"{number}/{path}", X_Visitor="another", **huge)[0] == 409
        assert ask(f"{number}/{path}", **huge)[0] == 413


def test_many_slow_strangers_take_few_threads_and_do_not_keep_the_page_out(
    ask, server, monkeypatch
):
    """Fault E6: 300 slow connections made 300 threads. These fit the queue of the socket, else the
    kernel makes them wait by the minute."""
    monkeypatch.setattr(browser_server, "_STRANGER_S", 0.5)  # they come in waves of a few
    before = threading.active_count()
    slow = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(120)]
    try:
        for each in slow:
            with contextlib.suppress(OSError):
                each.sendall(b"GET /")
        assert ask("next")[0] == 200
        assert threading.active_count() - before <= 40
        monkeypatch.setattr(browser_server, "_STRANGER_S", 0.0)
        until = time.monotonic() + 20
        while threading.active_count() > before and time.monotonic() < until:
            time.sleep(0.05)
        assert threading.active_count() == before
    finally:
        for each in slow:
            each.close()
