"""Freed memory stays while something trains, and goes back afterwards."""

import os
import subprocess
import sys

import pytest

from edgetransfer.spec.memory import memory

GIB = 2**30
SCRIPT = """
import resource, sys
from pathlib import Path
import torch
from edgetransfer.spec.memory import reused

def faults_of(rounds):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(rounds):
        torch.zeros(int(sys.argv[1]))
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def held():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4 // 1024

start = held()
with reused():
    # Many: glibc keeps some ends of aligned blocks apart, seven of each size at most.
    faults_of(int(sys.argv[2]))
    with reused():
        print(faults_of(8))
    print(faults_of(8), held() - start)
print(held() - start)
"""


def run(numbers, rounds=64, **variables):
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("MALLOC_", "GLIBC_"))}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(numbers), str(rounds)], env={**kept, **variables},
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    return [int(each) for each in done.stdout.split()]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs glibc's malloc")
def test_pages_are_not_asked_for_again_and_are_given_back():
    inner, outer, inside, after = run(2**21)  # 8 MiB, 2,048 pages
    assert inner < 500
    assert outer < 500
    assert inside > 6
    assert after < inside - 6


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs glibc's malloc")
@pytest.mark.parametrize(
    "told", [{"MALLOC_ARENA_MAX": "2"}, {"GLIBC_TUNABLES": "glibc.malloc.arena_max=2"}]
)
def test_what_the_user_told_malloc_stands(told):
    _, faults, inside, _ = run(2**24, rounds=8, **told)  # 64 MiB, which glibc always maps afresh
    assert faults > 8 * 16384 / 600  # huge pages count as one
    assert inside < 6


def test_a_container_has_no_more_memory_than_its_group(tmp_path):
    """Both versions of cgroups; the narrowest of the groups above counts, as the kernel has it."""
    machine = memory(tmp_path / "nothing")
    assert machine == os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    names = iter("abcdefgh")

    def found(told, files):
        root = tmp_path / next(names)
        for file, limit in files.items():
            (root / "sys/fs/cgroup" / file).parent.mkdir(parents=True, exist_ok=True)
            (root / "sys/fs/cgroup" / file).write_text(f"{limit}\n")
        (root / "proc/self").mkdir(parents=True)
        (root / "proc/self/cgroup").write_text(told)
        return memory(root)

    second, first = "0::/jobs/one\n", "5:cpu,cpuacct:/x\n4:memory:/docker/1\n"
    inner, outer = "jobs/one/memory.max", "jobs/memory.max"
    assert found(second, {inner: "max", outer: "max"}) == machine
    assert found(second, {inner: GIB // 2, outer: GIB}) == GIB // 2
    assert found(second, {inner: "max", outer: GIB}) == GIB
    assert found("0::/../outside\n", {"memory.max": GIB}) == GIB  # seen from a container
    old = "memory/docker/1/memory.limit_in_bytes"
    assert found(first, {old: GIB}) == GIB
    assert found(first, {old: 9223372036854771712}) == machine  # no limit, as version 1 says it
    assert found(first, {"memory/memory.limit_in_bytes": GIB}) == GIB
