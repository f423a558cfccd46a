"""What can go wrong with a launch before there is a process, each with a message for the person who configured it.

And, apart from these, what is wrong with a request that an engine must not get.
"""


class LaunchError(Exception):
    """The root of this package's errors."""


class ModelNotFoundError(LaunchError):
    """The model isn't where the configuration says; the message says what was looked for and what to do."""


class ArgumentError(LaunchError):
    """An engine argument, or an environment variable, that can't be passed on."""


class UnfitRequestError(Exception):
    """A request that would stall an engine, end it, or be answered with a failure of its own.

    `message` is a sentence for the client; `param` names the request's field at fault, if one is. It is no
    LaunchError: what is wrong is the client's, and nothing is wrong with the launch.
    """

    def __init__(self, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
