"""The errors that a user can cause, each with what was expected, what came, and the cure."""


class LLMasToolError(ValueError):
    """Base of every error that is about the user's input rather than about this code."""


def from_name(name: str, message: str) -> LLMasToolError:
    """Return the error of a class of this module, as another process named it; the base of all where there is none."""
    kind = globals().get(name)
    if isinstance(kind, type) and issubclass(kind, LLMasToolError):
        return kind(message)
    return LLMasToolError(message)


class ConfigError(LLMasToolError):
    """A parameter is unknown, missing, of the wrong type or out of range."""


class DataError(LLMasToolError):
    """A dataset is missing, broken or of the wrong shape."""


class SourceError(LLMasToolError):
    """A source of code cannot be read, or holds no module."""


class RegistryError(LLMasToolError):
    """A registry is missing, empty, or lacks a module that a tree names."""


class TreeError(LLMasToolError):
    """A tree is malformed, or names a slot that does not exist. The message starts with the path in the tree."""


class EditRefused(LLMasToolError):  # noqa: N818 - a refusal is an answer, not an error of the program
    """An edit does not hold at its slot. Nothing was built, and the tree is unchanged."""


class SandboxError(LLMasToolError):
    """The sandbox cannot be set up on this machine."""
