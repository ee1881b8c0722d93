"""The errors a user can meet, each with the exit code of the command line."""


class NicheSimError(Exception):
    """Base of all errors that are reported as one message, never as a traceback."""

    exit_code = 1


class InputError(NicheSimError):
    """Bad input: configuration, file or option."""

    exit_code = 2


class NumericalError(NicheSimError):
    """A quantity became invalid (NaN, infinite, negative) or a solver failed."""

    exit_code = 3


class ResourceError(NicheSimError):
    """A limit of memory, disk or table size was met."""

    exit_code = 4


class Interrupted(NicheSimError):
    """The run was stopped from outside."""

    exit_code = 5
