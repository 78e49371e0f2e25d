"""Settings of a command: from the environment, overridden by its options."""

from __future__ import annotations

from typing import Any, TypeVar

from pydantic import ValidationError
from pydantic_settings import BaseSettings

from cxr.console import say
from retrieval.errors import InvalidRequest
from retrieval.file_permissions import restrict_home
from retrieval.settings import RetrievalSettings

AnySettings = TypeVar("AnySettings", bound=BaseSettings)


def read_settings(index: str | None = None, device: str | None = None, *, restrict: bool = True) -> RetrievalSettings:
    """The settings of the engine; options that are None were not given.

    If other users can read the home or the embedded index, access is restricted to the owner, with a message, unless
    `restrict` is false.

    Raises:
        InvalidRequest: a value is outside its range; the message names it.
    """
    settings = override_settings(RetrievalSettings, "settings", index=index, device=device)
    if restrict:
        for path in restrict_home(settings.home, settings.index_folder):
            say(f"other users of this machine could read {path}; it is now restricted to its owner")
    return settings


def override_settings(kind: type[AnySettings], title: str, **options: Any) -> AnySettings:
    """The settings `kind` from the environment, overridden by the options that are not None.

    Raises:
        InvalidRequest: a value is outside its range; the message begins with `title` and names it.
    """
    try:
        return kind(**{name: value for name, value in options.items() if value is not None})
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors())
        raise InvalidRequest(f"{title}: {wrong}") from error
