"""Requests with limits: a body or parameter that cannot be read is refused with 400 or 413, not answered with 500."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from litestar import Request
from litestar.connection import ASGIConnection
from litestar.datastructures import FormMultiDict
from litestar.enums import RequestEncodingType
from litestar.exceptions import ClientException, NotFoundException, ValidationException
from litestar.handlers import BaseRouteHandler
from litestar.params import QueryParameter
from litestar.types import Empty

from service.api.forms import Fields, parse_multipart, parse_urlencoded, require_few_values


class BodyRequest(Request[Any, Any, Any]):
    """A request whose body is limited before it is decoded (see `service.api.forms`)."""

    async def json(self) -> Any:
        """The body's JSON.

        Raises:
            ClientException: it is nested too deeply, or is not UTF-8. SerializationException: it is not JSON.
            RequestEntityTooLarge: it has too many values.
        """
        require_few_values(await self.body())
        try:
            return await super().json()
        except RecursionError:
            raise ClientException("the body is nested too deeply") from None
        except UnicodeDecodeError:
            raise ClientException("the body is not UTF-8") from None

    async def form(self) -> FormMultiDict:
        """The body's form fields.

        Raises:
            ClientException, RequestEntityTooLarge: as `parse_multipart`.
        """
        if self._connection_state.form is Empty:
            self._connection_state.form = await self._parse_form()
        return await super().form()

    async def _parse_form(self) -> Fields:
        kind, options = self.content_type
        if kind == RequestEncodingType.MULTI_PART:
            if not options.get("boundary"):
                raise ValidationException("the Content-Type names no boundary")
            return await parse_multipart(self.stream(), options["boundary"])
        if kind == RequestEncodingType.URL_ENCODED:
            return parse_urlencoded(await self.body())
        return {}


def only_files(folder: Path) -> Callable[[Request[Any, Any, Any]], Awaitable[None]]:
    """A hook that refuses requests for files that are not in `folder`: Litestar fails on impossible file names.

    The files are listed once, when this is called.
    """
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}

    async def require_file(request: Request[Any, Any, Any]) -> None:
        if str(request.path_params["file_path"]).lstrip("/") not in names:
            raise NotFoundException("no such file")

    return require_file


def no_unknown_parameters(request: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
    """A guard that refuses unknown query parameters: a misspelt filter must not be ignored.

    Raises:
        ValidationException: it names the first unknown parameter, and the known ones.
    """
    parameters = handler.parsed_fn_signature.parameters.items()
    wire_names = {
        field.kwarg_definition.name or name
        for name, field in parameters
        if isinstance(field.kwarg_definition, QueryParameter)
    }
    for name in request.query_params:
        if name not in wire_names:
            message = f"unknown parameter; expected {', '.join(sorted(wire_names))}"
            raise ValidationException(extra=[{"key": name, "message": message}])


async def read_form(request: Request[Any, Any, Any]) -> None:
    """Read the form before Litestar does, which would bypass `BodyRequest.form`."""
    await request.form()
