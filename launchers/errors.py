"""What can go wrong with a launch before there is a process, each with a message for the person who configured it."""


class LaunchError(Exception):
    """The root of this package's errors."""


class ModelNotFoundError(LaunchError):
    """The model isn't where the configuration says; the message says what was looked for and what to do."""


class ArgumentError(LaunchError):
    """An engine argument, or an environment variable, that can't be passed on."""
