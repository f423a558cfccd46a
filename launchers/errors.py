"""Errors of a launch before there is a process, with messages for whoever configured it.

Apart from these: the error of a request that an engine must not get.
"""


class LaunchError(Exception):
    """The root of this package's errors."""


class ModelNotFoundError(LaunchError):
    """The model isn't where the configuration says. The message names what was looked for, and what to do."""


class UnfitModelError(LaunchError):
    """A file of the model is cut off. The message names it."""


class ArgumentError(LaunchError):
    """An engine argument, or an environment variable, that can't be passed on."""


class UnfitRequestError(Exception):
    """A request that would stall or end an engine, or that it would answer with an internal error.

    `message` is a sentence for the client; `param` names the field at fault, if one is. It is no LaunchError: the
    client is at fault, not the launch.
    """

    def __init__(self, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
