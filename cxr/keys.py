"""The commands `cxr keys create`, `list`, `revoke` and `remove-all`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from cxr.console import JsonOption, print_json, read_settings, say

if TYPE_CHECKING:
    from service.access.keys import ApiKey, KeyFile

SCOPE_HELP = (
    "read: search, open studies and thumbnails, list models, the page. ingest: reserved for endpoints that write cases; "
    "there are none yet, so today it opens nothing. admin: switch the active model, and all of the others."
)

app = typer.Typer(
    name="keys",
    help="Keys of the HTTP service: who may use it, and for what.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
)


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="Whom the key is for; the audit log carries this name.")],
    scopes: Annotated[list[str], typer.Option("--scope", help=f"May be repeated. {SCOPE_HELP}")] = ["read"],  # noqa: B006
    days: Annotated[int | None, typer.Option(min=1, max=36500, help="Days until it expires. [default: never]")] = None,
    as_json: JsonOption = False,
) -> None:
    """Make a key and print it, once: only its hash is kept. A running service accepts it at once.

    As soon as there is a key, every request needs one, on this machine, too.

    \b
    cxr keys create ward-3
    cxr keys create ops --scope admin --days 90
    """
    from datetime import timedelta
    from typing import get_args

    from retrieval.errors import InvalidRequest
    from service.access.keys import KeyScope

    unknown = [scope for scope in scopes if scope not in get_args(KeyScope)]
    if unknown:
        raise InvalidRequest(f"--scope must be one of {', '.join(get_args(KeyScope))}; found {unknown[0]!r}")
    chosen: tuple[Any, ...] = tuple(scopes)
    key, secret = _file().create(name, chosen, lifetime=timedelta(days=days) if days else None)
    if as_json:
        print_json(_describe(key) | {"key": secret})
        return
    say(f"key {key.name} ({', '.join(key.scopes)}), expires: {_day(key.expires) or 'never'}. It is not shown again:")
    typer.echo(secret)


@app.command(name="list")
def list_keys(as_json: JsonOption = False) -> None:
    """List all keys, without their secrets, which are kept nowhere."""
    file = _file()
    keys = [_describe(key) for key in file.read() or ()]
    if file.is_lost():
        say(f"this home had keys, and {file.path} is gone; restore it, or make new ones with `cxr keys create`")
    if as_json:
        print_json({"keys": keys})
        return
    from rich.console import Console
    from rich.table import Table

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
    """End a key. A running service refuses it at once, and ends the page's sessions that it opened."""
    key = _file().revoke(name)
    if as_json:
        print_json(_describe(key))
    else:
        say(f"key {key.name} is revoked since {_day(key.revoked)}")


@app.command(name="remove-all")
def remove_all(
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Remove all keys, also where their file is lost or damaged. A service on this machine alone then needs none.

    A running service goes on needing a key until it is started again.
    """
    file = _file()
    if not yes and not typer.confirm("Remove all keys? Whoever reaches the service then needs none", err=True):
        raise typer.Abort
    file.remove_all()
    if as_json:
        print_json({"keys": []})
    else:
        say("all keys are removed; a service that runs must be started again")


def _file() -> KeyFile:
    from service.access.keys import KeyFile

    return KeyFile(read_settings().home)


def _day(moment: Any) -> str:
    return moment.isoformat(timespec="seconds") if moment else ""


def _describe(key: ApiKey) -> dict[str, Any]:
    return {
        "name": key.name,
        "scopes": list(key.scopes),
        "state": key.state(),
        "created": _day(key.created),
        "expires": _day(key.expires) or None,
        "revoked": _day(key.revoked) or None,
    }
