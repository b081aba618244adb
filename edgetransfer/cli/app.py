"""Where the program begins, and where all that goes wrong ends: one message and an exit code.

It loads nothing until it can be stopped: ``Ctrl-C`` ends every moment of a run the same way.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import TYPE_CHECKING

from edgetransfer.cli import DEBUG

if TYPE_CHECKING:
    from edgetransfer.errors import EdgeTransferError

STOPPED = 130
"""Exit code of a run that the user stopped, as shells have it."""
_NOBODY_READS = 141
"""Exit code where the reader of a pipe went away, as shells have it (128 and SIGPIPE)."""
_GOES_ON = b"\nstopped. The same command goes on from the last finished stage.\n"


class _Stop:
    """What ``Ctrl-C`` does: says so on the real standard error and ends the run.

    Libraries take standard error away or turn what is raised into errors of their own, so the
    message goes around them, and `asked` is what `main` looks at in the end.
    """

    def __init__(self) -> None:
        self.asked = False

    def __call__(self, *_: object) -> None:
        if self.asked:  # again: something does not let go
            os._exit(STOPPED)
        self.asked = True
        os.write(2, _GOES_ON)
        sys.exit(STOPPED)


def main() -> None:
    """Run the command line; every failure is one message and an exit code of its kind."""
    stop = _Stop()
    signal.signal(signal.SIGINT, stop)
    _say_anything()
    words = sys.argv[1:]
    options = words[: words.index("--")] if "--" in words else words
    if "--debug" in options:
        os.environ[DEBUG] = "1"
        rest = words[len(options) :]
        sys.argv[1:] = [word for word in options if word != "--debug"] + rest
    try:
        code = _run(words)
    except BaseException:
        if not stop.asked:
            raise
        code = STOPPED
    sys.exit(STOPPED if stop.asked else code)


def _say_anything() -> None:
    """Let no letter that a terminal lacks, and no closed stream, end a run after its work."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            # It stays open for as long as the program runs, in place of the closed stream.
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: PTH123, SIM115
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def _run(words: list[str]) -> int | str | None:
    """Run the command and return what the program is to exit with."""
    try:
        from edgetransfer.cli.commands import app

        app()
        sys.stdout.flush()
    except SystemExit as end:
        if isinstance(end.__context__, BrokenPipeError):  # typer's way to tell
            return _unread()
        try:
            sys.stdout.flush()
        except BrokenPipeError:
            return _unread()
        return end.code
    except BrokenPipeError:
        return _unread()
    except Exception as error:
        return _told(error, words)
    return 0


def _unread() -> int:
    """Let the interpreter flush into nothing on its way out."""
    nothing = os.open(os.devnull, os.O_WRONLY)
    for stream in filter(None, (sys.__stdout__, sys.__stderr__)):
        try:
            stream.flush()
        except BrokenPipeError:
            os.dup2(nothing, stream.fileno())
    return _NOBODY_READS


def _told(error: Exception, words: list[str]) -> int:
    from edgetransfer.errors import EdgeTransferError, MemoryFullError, StageError
    from edgetransfer.spec.outside import printable

    if os.environ.get(DEBUG):
        import traceback

        traceback.print_exception(error)
    known: EdgeTransferError | None = None
    if isinstance(error, EdgeTransferError):
        known = error
    elif isinstance(error, MemoryError):
        known = MemoryFullError(error)
    elif isinstance(error, OSError) and error.errno is not None:
        from edgetransfer.bundle.files import refused

        known = refused(error)
    text = f"error: {known}" if known is not None else _crash(error, words)
    sys.stderr.write(printable(text) + "\n")
    return StageError.exit_code if known is None else known.exit_code


def _crash(error: Exception, words: list[str]) -> str:
    import platform
    import shlex
    import traceback
    from importlib.metadata import version
    from pathlib import Path

    from edgetransfer.errors import first_line

    last = traceback.extract_tb(error.__traceback__)[-1]
    place = "/".join(Path(last.filename).parts[-3:])
    kind = type(error).__name__
    system = f"Python {platform.python_version()}, {platform.system()} {platform.machine()}"
    return "\n".join(
        (
            "error: edgetransfer broke down; this is a fault in it, not in what you gave",
            f"  found: {kind}: {first_line(error)} ({place}, line {last.lineno})",
            f"  command: {shlex.join(['edgetransfer', *words])[:1000]}",
            f"  version: edgetransfer {version('edgetransfer')}, {system}",
            "  fix: report these lines to the project, with the traceback that --debug shows; "
            "finished stages are kept",
        )
    )


if __name__ == "__main__":
    main()
