"""Targets and calibration recipes are found by name, merged and validated."""

from pathlib import Path

import platformdirs
import pytest

from edgetransfer.errors import SpecError
from edgetransfer.spec import catalogue

SHIPPED = (
    *("android-cpu", "android-qnn", "arm64-dotprod", "arm64-generic", "arm64-i8mm", "ios-coreml"),
    *("ios-cpu", "jetson-agx-orin", "jetson-orin-jetpack7", "jetson-orin-nano", "jetson-thor"),
    *("nvidia-rtx", "nvidia-rtx-jit", "openvino-cpu", "radxa-orion-o6", "raspberry-pi-4"),
    *("raspberry-pi-5", "rk3588", "this-machine", "web-wasm", "web-webgpu", "x86-avx2", "x86-vnni"),
)
HEAD = 'name = "mine"\ntitle = "Mine"\n'
EVIDENCE = '[evidence]\nstatus = "declared"\nsource = "a test"\ndate = "2026-11-22"\n'
RUNTIME = '[runtime]\nmin_version = "1.19.2"\n'


def message(call, *arguments):
    with pytest.raises(SpecError) as caught:
        call(*arguments)
    return str(caught.value)


@pytest.mark.parametrize("name", SHIPPED)
def test_every_shipped_target_is_valid(name):
    spec = catalogue.target(name)
    assert spec.name == name
    assert spec.detect or (spec.runtime and (spec.isa or spec.runtime.name == "onnxruntime-web"))


@pytest.mark.parametrize("name", ["default", "exact", "percentile"])
def test_every_shipped_calibration_recipe_is_valid(name):
    assert catalogue.calibration_recipe(name).name == name


def test_the_names_are_those_that_can_be_asked_for(project):
    assert catalogue.names("targets") == list(SHIPPED)
    assert catalogue.names("calibration/recipes") == ["default", "exact", "percentile"]
    project("mine", HEAD + EVIDENCE)
    project("broken", "name = ")
    assert catalogue.names("targets") == list(SHIPPED)


def test_extends_takes_over_what_is_not_said_again():
    board, generic = catalogue.target("raspberry-pi-5"), catalogue.target("arm64-generic")
    assert (board.extends, generic.extends) == ("arm64-dotprod", None)
    assert (board.runtime, board.int8, board.session) == (
        generic.runtime,
        generic.int8,
        generic.session,
    )
    assert (board.isa.arch, board.isa.all_of) == ("arm64", ("asimddp",))
    assert (board.evidence.status, generic.evidence.status) == ("declared", "measured")


def test_extends_merges_tables_field_by_field(project):
    one, two = '"mlas.disable_kleidiai" = "1"\n', '"session.dynamic_block_base" = "2"\n'
    project("base", HEAD + "[session]\nthreads = 4\n[session.config]\n" + one + EVIDENCE)
    head = HEAD + 'extends = "base.toml"\n[session.config]\n'
    session = catalogue.target(str(project("mine", head + two + EVIDENCE))).session
    assert session.threads == 4
    assert session.config == {"mlas.disable_kleidiai": "1", "session.dynamic_block_base": "2"}


def test_d4_more_threads_than_any_machine_has(project):
    """Fault D4: a session with 100,000 threads never began."""
    file = project("mine", HEAD + "[session]\nthreads = 100000\n" + EVIDENCE)
    with pytest.raises(SpecError) as caught:
        catalogue.target(str(file))
    assert str(caught.value) == (
        f"{file}: session.threads: should be less than or equal to 256 (found 100000)"
    )


def test_a_board_is_no_class_though_it_extends_one():
    assert catalogue.target("arm64-dotprod").device_class
    assert not catalogue.target("raspberry-pi-5").device_class


def test_a_preview_that_a_target_names_is_there():
    for name in catalogue.names("targets"):
        word, _, cpu = catalogue.target(name).preview.on.partition(":")
        assert word != "qemu" or catalogue.preview(cpu).emulator


def test_what_is_only_exported_has_no_preview_on_a_processor():
    for name in ("android-qnn", "ios-coreml"):
        spec = catalogue.target(name)
        assert spec.export_only
        assert spec.preview.on == ""


def test_a_file_of_the_working_folder_counts_only_where_its_path_is_named(project):
    """Fault E2: a foreign folder's ``targets/this-machine.toml`` took over a plain build."""
    file = project("this-machine", HEAD + EVIDENCE)
    assert catalogue.target("this-machine").title != "Mine"
    assert catalogue.target(str(file)).title == "Mine"
    project("board", HEAD + EVIDENCE)
    assert message(catalogue.target, "board").endswith(
        "\n  fix: name the file by its path: targets/board.toml"
    )


@pytest.mark.parametrize(
    "name",
    ["..", "../../x", "", ".", "/tmp/x", "a/b", "a\\\\b", "-rf", ".hid", "nul", "é", "x" * 101],
)
def test_a_name_that_is_a_path_is_refused(project, name):
    """Fault E3: ``name = ".."`` emptied the parent of OUT."""
    file = project("mine", HEAD.replace("mine", name, 1) + EVIDENCE)
    told = message(catalogue.target, str(file))
    assert told.startswith(
        f"{file}: name: it becomes the name of a folder: expected at most 100 letters, digits, "
    )


PREVIEW = """
name = "mine"
title = "Mine"
arch = "arm64"
[emulator]
program = "qemu-aarch64"
cpu = "max"
min_version = 7
suite = "trixie"
[sysroot]
architecture = "arm64"
suite = "trixie"
packages = ["python3"]
python = "3.11"
wheel_platforms = ["manylinux_2_28_aarch64"]
library_folders = ["usr/lib/blas"]
"""


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("qemu-aarch64", "targets/evil.sh"),
        ("qemu-aarch64", "qemu-aarch64; touch x"),
        ('cpu = "max"', 'cpu = "-D/tmp/x"'),
        ('["python3"]', '["-oAPT::Update::Pre-Invoke::=touch x"]'),
        ('"manylinux_2_28_aarch64"', '"--index-url=http://x"'),
        ('"usr/lib/blas"', '"../../lib"'),
        ('"usr/lib/blas"', '"/lib"'),
        ('"3.11"', '"3.11/../../x"'),
        ('suite = "trixie"', 'suite = "trixie main\\ndeb x"'),
        ('name = "mine"', 'name = "../x"'),
    ],
)
def test_a_preview_names_no_program_option_or_path(project, old, new):
    """Fault E2: ``program`` of a preview in the working folder was run by plain `doctor`."""
    assert catalogue.preview(str(project("mine", PREVIEW + EVIDENCE))).name == "mine"
    file = project("mine", PREVIEW.replace(old, new, 1) + EVIDENCE)
    assert message(catalogue.preview, str(file)).startswith(f"{file}: ")


@pytest.mark.parametrize(
    "key",
    [
        "session.custom_op_library",
        "session.model_external_initializers_file_folder_path",
        "session.collect_node_memory_stats_to_file",
        "ep.context_file_path",
        "",
    ],
)
def test_no_setting_of_a_session_names_a_file(project, key):
    file = project("mine", f'{HEAD}[session.config]\n"{key}" = "/tmp/x"\n{EVIDENCE}')
    assert message(catalogue.target, str(file)).startswith(f"{file}: session.config.{key}")


@pytest.mark.parametrize("on", ["ssh:-oProxyCommand=x", "qemu:./evil.toml", "adb:1", "local\\n"])
def test_a_target_connects_to_no_place_by_itself(project, on):
    file = project("mine", f'{HEAD}[preview]\non = "{on}"\n{EVIDENCE}')
    assert message(catalogue.target, str(file)).startswith(f"{file}: preview.on: ")


def test_a_target_is_given_by_its_path_too(tmp_path):
    file = tmp_path / "board.toml"
    file.write_text(HEAD + EVIDENCE)
    assert catalogue.target(str(file)).name == "mine"


def test_specs_are_frozen():
    with pytest.raises(ValueError, match="Instance is frozen"):
        catalogue.target("x86-vnni").name = "another"


def test_unknown_names():
    assert message(catalogue.target, "toaster") == (
        "no target is called 'toaster'\n"
        f"  expected: {', '.join(catalogue.names('targets'))}, or the path of a .toml file"
    )
    assert message(catalogue.calibration_recipe, "best") == (
        "no calibration recipe is called 'best'\n"
        "  expected: default, exact, percentile, or the path of a .toml file"
    )


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("raspberrypi5", "did you mean raspberry-pi-5?"),
        ("PI5", "did you mean raspberry-pi-5?"),
        ("raspbery-pi-4", "did you mean raspberry-pi-4?"),
        ("android", "did you mean android-cpu or android-qnn?"),
    ],
)
def test_a_name_that_is_close_to_one(word, told):
    names = ", ".join(catalogue.names("targets"))
    assert message(catalogue.target, word) == (
        f"no target is called {word!r}\n"
        f"  expected: {names}, or the path of a .toml file\n  fix: {told}"
    )


def test_a_path_that_is_not_there_is_an_unknown_name(tmp_path):
    path = tmp_path / "absent.toml"
    assert message(catalogue.target, str(path)).startswith(f"no target is called '{path}'\n")


def test_what_is_not_toml(project):
    file = project("mine", "name = \n")
    assert message(catalogue.target, str(file)) == (
        f"{file}: not a readable TOML file\n  found: Invalid value (at line 1, column 8)"
    )


def test_what_is_not_utf8(tmp_path):
    file = tmp_path / "mine.toml"
    file.write_bytes(b'name = "caf\xe9"\n')
    assert message(catalogue.target, str(file)) == (
        f"{file}: not a readable TOML file\n  found: not UTF-8: byte 0xe9 at offset 11"
    )


def test_all_problems_of_a_file_stand_in_one_message(project):
    file = project(
        "mine",
        HEAD
        + "colour = 1\n"
        + '[runtime]\nmin_version = "1"\nopset = 12\n'
        + '[int8]\nactivation = "x"\n'
        + EVIDENCE.replace("declared", "guessed"),
    )
    assert message(catalogue.target, str(file)) == (
        f"{file}: runtime.opset: should be greater than or equal to 18 (found 12); "
        "int8.activation: should be 'u8' or 's8' (found 'x'); "
        "evidence.status: should be 'declared' or 'measured' (found 'guessed'); "
        "colour: no such field"
    )


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("examples = 0", "examples: should be greater than or equal to 1 (found 0)"),
        ("percentile = 50", "percentile: should be greater than 50 (found 50)"),
        ("percentile = nan", "percentile: should be a finite number (found nan)"),
    ],
)
def test_calibration_recipes_out_of_range(tmp_path, content, problem):
    file = tmp_path / "recipe.toml"
    file.write_text(f'name = "mine"\n{content}\n')
    assert message(catalogue.calibration_recipe, str(file)) == f"{file}: {problem}"


def test_a_chain_of_extends_that_does_not_end(project):
    file = project("mine", HEAD + 'extends = "mine.toml"\n' + EVIDENCE)
    assert message(catalogue.target, str(file)) == f"{file}: the chain of `extends` does not end"


def test_extends_of_what_is_not_there(project):
    file = project("mine", HEAD + 'extends = "yours"\n' + EVIDENCE)
    assert message(catalogue.target, str(file)).startswith("no target is called 'yours'\n")


def test_extends_that_is_no_name(project):
    file = project("mine", HEAD + "extends = 3\n" + EVIDENCE)
    assert message(catalogue.target, str(file)) == (
        f"{file}: extends: should be a valid string (found 3)"
    )


@pytest.mark.parametrize(
    ("arch", "flags", "found"),
    [
        ("x86_64", {"avx2", "fma", "avx512f", "avx512_vnni"}, "x86-vnni"),
        ("x86_64", {"avx2", "fma", "avx_vnni"}, "x86-vnni"),
        ("x86_64", {"avx2", "fma"}, "x86-avx2"),
        ("arm64", {"asimd", "asimddp", "i8mm"}, "arm64-i8mm"),
        ("arm64", {"asimd", "asimddp"}, "arm64-dotprod"),
        ("arm64", {"asimd"}, "arm64-generic"),
        ("arm64", set(), "arm64-generic"),
    ],
)
def test_a_machine_takes_the_most_specific_class(arch, flags, found):
    spec, taken = catalogue.resolve("this-machine", arch, frozenset(flags)), catalogue.target(found)
    assert (spec.name, spec.extends) == ("this-machine", found)
    assert spec.title == f"the machine that builds ({found})"
    assert (spec.runtime, spec.int8, spec.session) == (taken.runtime, taken.int8, taken.session)
    assert spec.evidence.source == "measured during every build"
    assert not spec.device_class


def test_two_conditions_are_more_specific_than_one_with_two_ways_to_meet_it(project, monkeypatch):
    shipped = catalogue.shipped("targets") / "this-machine.toml"
    project("this-machine", shipped.read_text())
    monkeypatch.setattr(catalogue, "_PACKAGED", project("x", HEAD + EVIDENCE).parent.parent)
    isa = '[isa]\narch = "arm64"\n'
    classes = {
        "aa-either": 'any_of = ["sve", "sve2", "sme"]\n',
        "zz-both": 'all_of = ["sve", "sme"]\n',
    }
    for name, condition in classes.items():
        head = f'name = "{name}"\ntitle = "{name}"\ndevice_class = true\n'
        project(name, head + RUNTIME + isa + condition + EVIDENCE)
    found = catalogue.resolve("this-machine", "arm64", frozenset({"sve", "sme"}))
    assert found.extends == "zz-both"


def test_a_target_that_does_not_detect_is_taken_as_it_is():
    flags = frozenset({"asimd"})
    assert catalogue.resolve("x86-vnni", "arm64", flags) == catalogue.target("x86-vnni")


@pytest.mark.parametrize(
    ("arch", "flags"), [("riscv64", {"avx2"}), ("x86_64", {"avx"}), ("x86_64", set())]
)
def test_a_machine_of_no_class(arch, flags):
    assert message(catalogue.resolve, "this-machine", arch, frozenset(flags)) == (
        f"target this-machine: no target class matches this machine ({arch})\n"
        "  fix: name a target yourself with --target"
    )


def test_an_older_bundle_is_read_with_what_is_known_of_its_device():
    """A bundle from before `[device]` on a Graviton is no Raspberry Pi either (A1)."""
    pi = catalogue.target("raspberry-pi-5")
    raw = pi.model_dump(mode="json", exclude={"device", "instead"})
    assert catalogue.remembered(raw).device == pi.device
    own = {**raw, "name": "camera"}
    assert catalogue.remembered({**own, "extends": "raspberry-pi-5"}).device == pi.device
    assert catalogue.remembered({**own, "extends": "../x.toml"}).device.board == ()
    old = catalogue.resolve("this-machine", "arm64", frozenset(["asimddp"]))
    told = old.model_dump(mode="json", exclude={"device", "instead"}) | {"detect": False}
    assert catalogue.remembered(told).detect
    assert catalogue.remembered(pi.model_dump(mode="json")) == pi


def test_finished_stages_are_kept_where_the_environment_says(monkeypatch, tmp_path):
    monkeypatch.setenv("EDGETRANSFER_CACHE", str(tmp_path / "mine"))
    assert catalogue.default_cache() == tmp_path / "mine"
    monkeypatch.delenv("EDGETRANSFER_CACHE")
    assert catalogue.default_cache() == Path(platformdirs.user_cache_dir("edgetransfer"))
    assert not (tmp_path / "mine").exists()
