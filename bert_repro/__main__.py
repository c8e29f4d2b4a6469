"""The command line: parses arguments, calls the command and turns its errors into one line each.

An error that a user can correct is one line that says what is wrong and what to do; `--debug` shows the traceback.
"""

import os
import sys

from bert_repro.workflow.arguments import parser


def _have_a_home() -> None:
    """Name a home folder where there is none, as for an account of a container without an entry in passwd: Jupyter needs one."""
    from pathlib import Path

    from bert_repro.files import ROOT

    try:
        Path.home()
    except RuntimeError:
        os.environ["HOME"] = str(ROOT / "build" / "home")


def main(given: list[str] | None = None) -> int:
    """Run a command and return its exit status.

    It is 0; 1 for an error with a message, or without one where nobody reads any more; 2 for wrong usage; 130 for Ctrl-C.
    """
    arguments = parser().parse_args(given)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    _have_a_home()
    try:
        arguments.call(arguments)
        sys.stdout.flush()
    except BrokenPipeError:  # `| head` has seen enough; what is still to be written goes nowhere
        for stream in (sys.stdout, sys.stderr):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        return 1
    except (ValueError, OSError, RuntimeError) as error:
        if arguments.debug:
            raise
        print(f"bert_repro: {' '.join(str(error).split())}", file=sys.stderr)  # one line, even of YAML
        return 1
    except KeyboardInterrupt:
        print("bert_repro: interrupted", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
