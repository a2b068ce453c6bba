"""Options that the programs share, and how they are read."""

from __future__ import annotations

import argparse
import logging
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any, NoReturn

from reenactment.reenactor import DEFAULT_CONFIG
from utils import __version__
from utils.assets import ASSETS_ENV
from utils.config import load_config
from utils.console import say, silenced_libraries
from utils.errors import InputError, ReenactmentError, UsageError
from utils.image import silence_opencv
from utils.tddfa_util import str2bool

INTERRUPTED = 130  # the exit code shells give a program stopped by Ctrl-C
LOG_LEVELS = ("error", "warning", "info", "debug")


class Parser(argparse.ArgumentParser):
    """Reports a bad option in one line; dashes inside names work like underscores."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(
            allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter, **settings
        )
        self.add_argument("--version", action="version", version=__version__)

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        given = sys.argv[1:] if args is None else args
        return super().parse_known_args([_underscored(word) for word in given], namespace)

    def spell(self, option: str, value: Any) -> list[str]:
        """The words that give an option, by its long name, a value."""
        if self._option_string_actions[f"--{option}"].nargs == 0:  # a switch
            return [f"--{option}"] if str2bool(str(value)) else []
        if isinstance(self._option_string_actions[f"--{option}"].nargs, int):
            return [f"--{option}", *str(value).split()]
        return [f"--{option}={value}"]

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}; see --help")


def _underscored(word: str) -> str:
    """'--output-fp=a-b' -> '--output_fp=a-b'."""
    if not word.startswith("--"):
        return word
    name, equals, value = word[2:].partition("=")
    return f"--{name.replace('-', '_')}{equals}{value}"


def add_model_options(group: argparse._ActionsContainer) -> None:
    """The options that `model_config` reads, and --log_level."""
    group.add_argument("-c", "--config", default=DEFAULT_CONFIG, metavar="FILE",
                       help="YAML config of the regressor (default %(default)s)")
    group.add_argument("--assets", metavar="DIR",
                       help=f"a 3DDFA_V2 checkout with weights and 3DMM (default ${ASSETS_ENV})")
    group.add_argument("-m", "--mode", default="cpu", choices=("cpu", "gpu"),
                       help="gpu runs the networks on CUDA (default %(default)s)")
    group.add_argument("--engine", default="auto", choices=("auto", "torch", "onnx"),
                       help="auto is onnxruntime where a graph can be had, else torch")
    group.add_argument("--onnx", action="store_true", help="the same as --engine onnx")
    group.add_argument("--log_level", default="warning", choices=LOG_LEVELS,
                       help="how much is told on stderr (default %(default)s)")


def model_config(args: argparse.Namespace) -> dict[str, Any]:
    """The config that the options name, on the engine and the device they ask for.

    Raises
    ------
    UsageError : no such config, or a bad one.
    """
    if args.onnx and args.engine == "torch":
        raise UsageError("--onnx contradicts --engine torch")
    config = load_config(args.config, args.assets)
    if args.onnx or args.engine != "auto":
        config["engine"] = "onnx" if args.onnx else args.engine
    if args.mode == "gpu":
        config["gpu_mode"] = True
    return config


# Of the system or the user, besides Ctrl-C; where there are no terminals that can be closed, one.
_STOPS = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]


def run_program(
    parser: Parser, argv: Sequence[str] | None, run: Callable[[argparse.Namespace], int]
) -> int:
    """Read the options and run a program; its errors become one line on stderr.

    Returns
    -------
    The exit code.
    """
    silence_opencv()  # errors are ours to report
    try:
        args = parser.parse_args(argv)
        if threading.current_thread() is threading.main_thread():
            for stop in _STOPS:
                if signal.getsignal(stop) is not signal.SIG_IGN:  # as nohup has it
                    signal.signal(stop, signal.default_int_handler)  # clean up as after Ctrl-C
        with nullcontext() if args.log_level == "debug" else silenced_libraries():
            logging.basicConfig(format="%(message)s", level=args.log_level.upper())
            return run(args)
    except ReenactmentError as error:
        return _fail(str(error), error.exit_code)
    except MemoryError:
        return _fail("out of memory; give smaller pictures", InputError.exit_code)
    except KeyboardInterrupt as stop:
        return _fail(str(stop) or "stopped before the end; nothing was written", INTERRUPTED)


def _fail(message: str, code: int) -> int:
    say(f"error: {message}", sys.stderr)
    return code
