"""The command line: parses arguments, calls the command and turns its errors into one line each.

An error that a user can correct is one line that says what is wrong and what to do; `--debug` shows the traceback.
"""

import contextlib
import os
import sys

from bert_repro.workflow.arguments import parser


def _settle() -> None:
    """Name a home folder where there is none that can be written, as in many containers: Jupyter and Snakemake need one. And
    make the folders absolute that the environment names: notebooks run in the project's folder, their reader is in any."""
    from pathlib import Path

    from bert_repro.files import ROOT

    if not os.access(os.path.expanduser("~"), os.W_OK):
        home = ROOT / "build" / "home"
        with contextlib.suppress(OSError):  # nor may the project be written
            home.mkdir(parents=True, exist_ok=True)
            os.environ["HOME"] = str(home)
    for name in ("BERT_REPRO_CACHE", "BERT_REPRO_DATA"):
        if folder := os.environ.get(name):
            os.environ[name] = str(Path(folder).absolute())


def main(given: list[str] | None = None) -> int:
    """Run a command and return its exit status.

    It is 0; 1 for an error with a message, or without one where nobody reads any more; 2 for wrong usage; 130 for Ctrl-C.
    """
    arguments = parser().parse_args(given)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        _settle()
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
