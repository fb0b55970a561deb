"""The root of the errors that are made for a person: the message names what, where, and what to do next."""


class TenfoldError(Exception):
    """Printed by the command line without a traceback; the process exits with ``exit_code``."""

    exit_code = 1


class UsageError(TenfoldError):
    """What a command was given means nothing: the message names the option, and says what to give."""

    exit_code = 2
