"""The errors a user can cause, each with the exit code the command line gives it."""

from __future__ import annotations


class ReenactmentError(Exception):
    """Base of every expected failure: the message is one line for the user."""

    exit_code = 1


class UsageError(ReenactmentError, ValueError):
    """The options or the config ask for something that cannot be done."""

    exit_code = 2


class InputError(ReenactmentError):
    """An input file is missing, unreadable or not what it should be."""

    exit_code = 3


class NoFaceError(ReenactmentError):
    """A picture holds no face, or not the face that was asked for."""

    exit_code = 4


class AssetError(ReenactmentError):
    """Weights, a 3DMM or another file the program needs is missing or damaged."""

    exit_code = 5


class OutputError(ReenactmentError):
    """A result could not be written."""

    exit_code = 6
