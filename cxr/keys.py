"""`cxr keys create`, `list`, `revoke` and `remove-all`: API keys of the HTTP service."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated, Any, get_args

import typer
from rich.console import Console
from rich.table import Table

from cxr.console import print_json, say
from cxr.options import JsonOption, YesOption
from cxr.settings import read_settings
from retrieval.errors import InvalidRequest
from service.access.keys import ApiKey, KeyFile, KeyScope

_SCOPE_HELP = (
    "read: search, open studies and thumbnails, list models, use the page. ingest: reserved for endpoints that write "
    "cases; none exists yet. admin: all that the other scopes allow, and switch the active model. Repeatable."
)

app = typer.Typer(
    name="keys",
    help="Create, list and revoke API keys.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
)


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="The user of the key. The audit log shows this name.")],
    scopes: Annotated[list[str], typer.Option("--scope", help=_SCOPE_HELP)] = ["read"],  # noqa: B006
    days: Annotated[int | None, typer.Option(min=1, max=36500, help="Days until it expires. [default: never]")] = None,
    as_json: JsonOption = False,
) -> None:
    """Create a key and print it once; only its hash is stored.

    A running service accepts the key at once. As soon as a key exists, every request needs one, also on this machine.

    \b
    cxr keys create ward-3
    cxr keys create ops --scope admin --days 90
    """
    unknown = [scope for scope in scopes if scope not in get_args(KeyScope)]
    if unknown:
        raise InvalidRequest(f"--scope must be one of {', '.join(get_args(KeyScope))}; found {unknown[0]!r}")
    known: tuple[Any, ...] = tuple(scopes)
    key, secret = _key_file().create(name, known, lifetime=timedelta(days=days) if days else None)
    if as_json:
        print_json(_describe_key(key) | {"key": secret})
        return
    expires = _format_time(key.expires) or "never"
    say(f"key {key.name} ({', '.join(key.scopes)}), expires: {expires}. It is not shown again:")
    typer.echo(secret)


@app.command(name="list")
def list_keys(as_json: JsonOption = False) -> None:
    """List all keys.

    \b
    cxr keys list
    """
    file = _key_file()
    keys = [_describe_key(key) for key in file.read() or ()]
    if file.is_lost():
        say(f"this home had keys, but {file.path} is missing; restore it, or make new keys with `cxr keys create`")
    if as_json:
        print_json({"keys": keys})
        return
    table = Table("name", "scopes", "state", "created", "expires", "revoked")
    for key in keys:
        days = [(key[name] or "")[:10] for name in ("created", "expires", "revoked")]
        table.add_row(key["name"], " ".join(key["scopes"]), key["state"], *days)
    Console().print(table)


@app.command()
def revoke(
    name: Annotated[str, typer.Argument(help="Name of the key.")],
    as_json: JsonOption = False,
) -> None:
    """Revoke a key.

    A running service refuses the key at once and ends the page sessions that were opened with it.

    \b
    cxr keys revoke ward-3
    """
    key = _key_file().revoke(name)
    if as_json:
        print_json(_describe_key(key))
    else:
        say(f"key {key.name} is revoked since {_format_time(key.revoked)}")


@app.command(name="remove-all")
def remove_all(
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Remove all keys, even if their file is lost or damaged.

    After that a service on this machine alone needs no key. A running service needs keys until it is restarted.

    \b
    cxr keys remove-all
    """
    file = _key_file()
    if not yes and not typer.confirm("Remove all keys? Everyone who can reach the service can then use it", err=True):
        raise typer.Abort
    file.remove_all()
    if as_json:
        print_json({"keys": []})
    else:
        say("all keys are removed; restart a running service")


def _key_file() -> KeyFile:
    return KeyFile(read_settings().home)


def _format_time(moment: datetime | None) -> str:
    return moment.isoformat(timespec="seconds") if moment else ""


def _describe_key(key: ApiKey) -> dict[str, Any]:
    return {
        "name": key.name,
        "scopes": list(key.scopes),
        "state": key.state(),
        "created": _format_time(key.created),
        "expires": _format_time(key.expires) or None,
        "revoked": _format_time(key.revoked) or None,
    }
