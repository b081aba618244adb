"""Kotlin for Android, compiled against its real classes and run on a JVM of this machine.

The libraries are those of an emulated phone (x86_64), with `bionic.c` for what glibc lacks; the few
classes of Android that hold files and pictures are those of the folder `android`.
"""

import os
import platform
import shutil
import struct
import subprocess
from pathlib import Path

import pytest

KOTLIN = Path(os.environ.get("EDGETRANSFER_TEST_KOTLIN", "")).resolve()
"""The folder that `scripts/fetch_kotlin.py` fills."""
HERE = Path(__file__).parent
JARS = [KOTLIN / "aar" / "classes.jar", KOTLIN / "kt" / "lib" / "kotlin-stdlib.jar"]
MAIN = """
public class Main {
    public static void main(String[] examples) throws Exception {
        Model model = new Model(new android.content.Context("."));
        for (String each : examples) System.out.println(model.run(%s));
    }
}
"""
BITMAP = "new android.graphics.Bitmap(each)"
IDS = 'java.util.Arrays.stream(each.split(",")).mapToLong(Long::parseLong).toArray()'
VERSIONS = {0x6FFFFFF0, 0x6FFFFFFC, 0x6FFFFFFD, 0x6FFFFFFE, 0x6FFFFFFF}
"""Entries of a dynamic section that ask for symbols of one version: bionic's, not glibc's."""
IGNORED = 0x60000010
LOADED, DYNAMIC, NAMES, SIZE_OF_NAMES = 1, 2, 5, 10


def called(*command, **how):
    """Run a program that has to succeed, and return what it printed."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, **how)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def compiled(code, room):
    """Compile the Kotlin of a text to a jar."""
    (room / "Model.kt").write_text(code)
    return compiled_files([room / "Model.kt"], room / "model.jar")


def compiled_files(files, jar, *options):
    """Compile Kotlin to a jar, against the classes of Android, its ONNX Runtime, and JUnit."""
    if not (KOTLIN / "android.jar").is_file():
        pytest.skip("the compiler comes by make test-kotlin")
    classes = os.pathsep.join(map(str, (JARS[0], KOTLIN / "android.jar", *junit())))
    given = ("-Werror", "-jvm-target", "1.8", *options, "-cp", classes, "-d", jar)
    called("bash", KOTLIN / "kt/bin/kotlinc-jvm", *files, *given)
    return jar


def junit():
    """Return what JUnit consists of."""
    return sorted((KOTLIN / "junit").glob("*.jar"))


def run(jar, folder, examples, argument, room):
    """Return what the `Model` of a jar says of each example, with a bundle's folder as assets."""
    refuse_other_machines()
    (room / "Main.java").write_text(MAIN % argument)
    classes = with_stand_ins([room / "Main.java"], jar, room)
    return started((classes, jar), "Main", examples, room, cwd=folder)


def with_stand_ins(programs, jar, room):
    """Compile programs that use a jar, and what stands in for Android, to a folder."""
    classes = room / "classes"
    path = os.pathsep.join(map(str, (classes, jar, *JARS)))
    sources = [*programs, *(HERE / "android").rglob("*.java")]
    called("javac", "-encoding", "UTF-8", "-cp", path, "-d", classes, *sources)
    return classes


def refuse_other_machines():
    """Skip where what was compiled cannot be run."""
    missing = [name for name in ("java", "javac", "gcc") if shutil.which(name) is None]
    if missing or platform.machine() != "x86_64":
        why = f"install {', '.join(missing)}" if missing else "the libraries are for x86_64"
        pytest.skip(f"compiled, and not run: {why}")


def started(classes, name, arguments, room, **how):
    """Run a class with the libraries of an emulated phone, and return the lines that it prints."""
    libraries = for_glibc(room / "lib")
    environment = {**os.environ, "LD_LIBRARY_PATH": str(libraries), "LD_BIND_NOW": "1"}
    path = os.pathsep.join(map(str, (*classes, *JARS)))
    native = f"-Donnxruntime.native.path={libraries}"
    command = ("java", native, "-Dfile.encoding=UTF-8", "-cp", path, name, *arguments)
    return called(*command, env=environment, **how).splitlines()


def for_glibc(lib):
    """Write the libraries of ONNX Runtime, and those that they ask for, to a folder."""
    if lib.is_dir():
        return lib
    lib.mkdir()
    built = ("gcc", "-w", "-shared", "-fPIC", "-Wl,--no-as-needed")
    called(*built, "-Wl,-soname,libc.so", "-o", lib / "libc.so", HERE / "bionic.c", "-l:libm.so.6")
    for name in ("libm.so", "libdl.so", "liblog.so", "libandroid.so"):
        (lib / name).symlink_to("libc.so")
    for file in (KOTLIN / "aar/jni/x86_64").iterdir():
        (lib / file.name).write_bytes(without_versions(bytearray(file.read_bytes())))
    return lib


def without_versions(elf):
    """Let a library take symbols of any version, and `bionic.c` where glibc means another thing."""
    (start,), (count,) = struct.unpack_from("<Q", elf, 32), struct.unpack_from("<H", elf, 56)
    headers = [struct.unpack_from("<IIQQQQ", elf, start + 56 * each) for each in range(count)]
    (_, _, place, _, _, size) = next(each for each in headers if each[0] == DYNAMIC)
    tags = {}
    for entry in range(place, place + size, 16):
        tag, value = struct.unpack_from("<QQ", elf, entry)
        tags.setdefault(tag, value)
        if tag in VERSIONS:
            struct.pack_into("<Q", elf, entry, IGNORED)
    names = next(
        tags[NAMES] - address + offset
        for kind, _, offset, address, _, size in headers
        if kind == LOADED and address <= tags[NAMES] < address + size
    )
    for name in (b"\0sysconf\0", b"\0fflush\0"):
        found = elf.find(name, names, names + tags[SIZE_OF_NAMES])
        if found >= 0:
            elf[found + len(name) - 2] = ord("X")
    return elf
