"""Cores, frequency, and what is around the process, from the system files of other machines."""

import pytest

from edgetransfer.agent import machine

CPU = "/sys/devices/system/cpu/"


@pytest.mark.usefixtures("linux")
def test_cores_that_differ_and_share(system):
    files = {
        CPU + "online": "0-7",
        CPU + "cpu0/topology/thread_siblings_list": "0,4",
        **{
            CPU + f"cpu{n}/cpu_capacity": str(size) for n, size in enumerate([250, 250, 1024, 1024])
        },
    }
    assert machine.cores(system(files)) == {
        "online": "0-7",
        "used": "0-3",
        "threads_per_core": 2,
        "capacities": [250, 250, 1024, 1024],
    }


@pytest.mark.usefixtures("linux")
@pytest.mark.parametrize(
    ("file", "told", "boost"),
    [
        (CPU + "cpufreq/boost", "1", True),
        (CPU + "intel_pstate/no_turbo", "1", False),
        (CPU + "intel_pstate/no_turbo", "0", True),
    ],
)
def test_frequency_and_boost(file, told, boost, system):
    limits = {
        CPU + "cpu0/cpufreq/scaling_min_freq": "600000",
        CPU + "cpu0/cpufreq/scaling_max_freq": "2400000",
        CPU + "cpu0/cpufreq/cpuinfo_max_freq": "2400000",
        CPU + "cpu0/cpufreq/scaling_driver": "cpufreq-dt",
        CPU + "cpu0/cpufreq/scaling_governor": "schedutil",
    }
    assert machine.frequency(system({file: told, **limits})) == {
        "governor": "schedutil",
        "driver": "cpufreq-dt",
        "min_khz": 600000,
        "max_khz": 2400000,
        "hardware_max_khz": 2400000,
        "boost": boost,
    }


@pytest.mark.parametrize(
    ("files", "container", "virtual"),
    [
        ({"/.dockerenv": ""}, "docker", None),
        ({"/run/.containerenv": ""}, "podman", None),
        ({"/proc/1/cgroup": "0::/kubepods/pod1"}, "kubepods", None),
        (
            {
                "/proc/cpuinfo": "flags : fpu hypervisor",
                "/sys/class/dmi/id/sys_vendor": "QEMU",
                "/sys/class/dmi/id/product_name": "Standard PC",
            },
            None,
            "QEMU Standard PC",
        ),
        ({"/proc/cpuinfo": "flags : fpu hypervisor"}, None, "hypervisor"),
    ],
    ids=["docker", "podman", "kubernetes", "named machine", "machine"],
)
def test_what_is_around_the_process(files, container, virtual, system):
    told = {"container": container, "virtual_machine": virtual}
    assert machine.enclosure(system(files)) == told
