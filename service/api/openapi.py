"""The OpenAPI document: its description, the names of its components, and arrays that Litestar describes wrongly."""

from __future__ import annotations

from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

from jinja2 import Environment
from litestar import Router
from litestar.openapi.config import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin, YamlRenderPlugin
from litestar.openapi.spec import Components, License, OpenAPIType, Reference, Schema, SecurityScheme, Tag
from litestar.params import ParameterKwarg
from litestar.plugins import OpenAPISchemaPlugin
from litestar.types import ExceptionHandlersMap
from litestar.typing import FieldDefinition

from retrieval.model_status import ModelStatus
from retrieval.search.hits import Hit, ReportSections, StudyImage, StudyRecord
from service.access.scopes import READ
from service.api.reference_page import ReferencePlugin
from service.experiments.entities import ShownResult

if TYPE_CHECKING:
    from litestar._openapi.schema_generation import SchemaCreator

DISCLAIMER = "For research use only. Not a medical device; not for diagnosis or treatment."
DESCRIPTION = (
    "Finds similar chest X-ray cases by words, by image, or by a stored study, with filters by finding and a choice of "
    f"embedding models. Errors are problem documents (RFC 9457) with a stable `code`.\n\n**{DISCLAIMER}**"
)

COMPONENT_NAMES: dict[type, str] = {
    Hit: "HitDocument",
    ReportSections: "ReportDocument",
    ShownResult: "SearchDocument",
    StudyRecord: "StudyDocument",
    StudyImage: "ImageDocument",
    ModelStatus: "ModelDocument",
}
"""Component names of the engine's own types. Generated clients contain these names, so they must not change."""


def openapi_config(templates: Environment, login_handlers: ExceptionHandlersMap) -> OpenAPIConfig:
    """The document's head and where it is served; `login_handlers` answer browsers that lack a key."""
    return OpenAPIConfig(
        title="Chest X-ray retrieval",
        version=_version(),
        description=DESCRIPTION,
        license=License(name="Apache-2.0", identifier="Apache-2.0"),
        use_handler_docstrings=True,
        tags=[
            Tag(name="search", description="Find cases by words or by image."),
            Tag(name="studies", description="Stored studies and cases similar to them."),
            Tag(name="feedback", description="Feedback of users on hits."),
            Tag(name="models", description="The models, and which one is active."),
            Tag(name="images", description="Thumbnails."),
            Tag(name="health", description="Health checks."),
        ],
        components=Components(
            security_schemes={
                "bearer": SecurityScheme(type="http", scheme="bearer"),
                "key": SecurityScheme(type="apiKey", name="X-API-Key", security_scheme_in="header"),
            }
        ),
        # On loopback, no key is needed until the first one is created.
        security=[{"bearer": []}, {"key": []}, {}],
        openapi_router=Router(
            "/schema",
            route_handlers=[],
            include_in_schema=False,
            opt=READ,
            exception_handlers=login_handlers,
        ),
        path="/schema",
        render_plugins=[
            ReferencePlugin(templates),
            JsonRenderPlugin(),
            YamlRenderPlugin(path=["/openapi.yaml", "/openapi.yml"]),
        ],
    )


class ComponentNames(OpenAPISchemaPlugin):
    """Registers the types of `COMPONENT_NAMES` under those names instead of their Python names."""

    def is_plugin_supported_field(self, field_definition: FieldDefinition) -> bool:
        """Whether the type has another name in the document and does not carry it yet."""
        named = getattr(field_definition.kwarg_definition, "schema_component_key", None)
        return not named and any(field_definition.annotation is known for known in COMPONENT_NAMES)

    def to_openapi_schema(self, field_definition: FieldDefinition, schema_creator: SchemaCreator) -> Schema:
        """A reference to the component."""
        name = COMPONENT_NAMES[field_definition.annotation]
        key = ParameterKwarg(annotation=field_definition.annotation, schema_component_key=name)
        schema = schema_creator.for_field_definition(replace(field_definition, kwarg_definition=key))
        if isinstance(schema, Reference):
            schema_creator.schema_registry.from_reference(schema).schema.title = name
        return schema  # type: ignore[return-value]  # Litestar takes a reference, too


class UniformTuples(OpenAPISchemaPlugin):
    """Describes `tuple[X, ...]` as an array of X; with limits, Litestar describes the dots as a second type of item."""

    def is_plugin_supported_field(self, field_definition: FieldDefinition) -> bool:
        """Whether the field is such a tuple."""
        inner = field_definition.inner_types
        return field_definition.origin is tuple and len(inner) == 2 and inner[1].annotation is Ellipsis

    def to_openapi_schema(self, field_definition: FieldDefinition, schema_creator: SchemaCreator) -> Schema:
        """An array; Litestar adds its limits."""
        return Schema(
            type=OpenAPIType.ARRAY, items=schema_creator.for_field_definition(field_definition.inner_types[0])
        )


def _version() -> str:
    try:
        return version("cxr-retrieval")
    except PackageNotFoundError:  # a checkout that is not installed
        return "0+checkout"
