"""The commands that a collection meets after its ingest: `cxr use`, `push`, `snapshot` and `drop`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from cxr.console import IndexOption, JsonOption, print_json, read_settings, say
from cxr.progress import progress_bar

if TYPE_CHECKING:
    from ingest.transfer import LoadOptions, TransferSummary
    from retrieval.index.interface import Index
    from retrieval.index.schema import Quantization

CollectedOption = Annotated[str, typer.Argument(help="A model that has a collection; see `cxr models`.")]
RecreateOption = Annotated[bool, typer.Option("--recreate", help="Drop the collection that is there first.")]
ShardsOption = Annotated[int, typer.Option("--shards", min=1, help="Shards of a new collection; server only.")]
ReplicasOption = Annotated[int, typer.Option("--replicas", min=1, help="Copies of each shard; server only.")]
QuantizationOption = Annotated[
    str | None, typer.Option("--quantization", help="none or int8, of a new collection; default: as the original's.")
]
PauseOption = Annotated[
    bool, typer.Option("--pause-optimizer", help="Let the server build its graph after the load, not during it.")
]

snapshots = typer.Typer(help="Keep a collection in one file, and restore it.", rich_markup_mode=None)


def use(
    model: Annotated[str | None, typer.Argument(help="A model that has a collection; see `cxr models`.")] = None,
    back: Annotated[bool, typer.Option("--back", help="The model that was active before the present one.")] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Also if the collection is not complete, or holds fewer images than now.")
    ] = False,
    index: IndexOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make MODEL the one that searches use when they name none; a running service sees it at once.

    Refused while the collection of MODEL is not complete, or holds fewer images of some dataset than the active one.

    \b
    cxr use biomedclip
    cxr use --back
    """
    from retrieval.catalog import Catalog
    from retrieval.errors import InvalidRequest

    if (model is not None) == back:
        raise InvalidRequest("give either a model or --back")
    with Catalog(read_settings(index)) as catalog:
        status = catalog.activate_previous() if model is None else catalog.activate(model, force=force)
    if as_json:
        print_json(
            {
                "active": status.key,
                "collection": status.collection,
                "bundle_id": status.bundle_id,
                "images": status.images,
                "complete": status.complete,
            }
        )
    else:
        held = f", {status.images:,} images" if status.images and status.complete else ""
        held += "" if status.complete else "; its collection is not complete, `cxr doctor` says why"
        say(f"{status.key} is active ({status.collection}, bundle {status.bundle_id}{held})")


def push(
    model: CollectedOption,
    to: Annotated[str, typer.Option("--to", help="URL of a Qdrant server, or the folder of an embedded index.")],
    recreate: RecreateOption = False,
    shards: ShardsOption = 1,
    replicas: ReplicasOption = 1,
    quantization: QuantizationOption = None,
    pause_optimizer: PauseOption = False,
    index: IndexOption = None,
    as_json: JsonOption = False,
) -> None:
    """Copy the collection of MODEL to another index, such as the embedded one to a server.

    Run it again after it was cut off, or after a further ingest: what is there already is not sent again. Images that
    only the target has are kept. Done means that the count, and the vectors and payloads of a sample, were read back and
    compared. CXR_INDEX_API_KEY, CXR_INDEX_CA_FILE, CXR_INDEX_TIMEOUT_S and CXR_INDEX_PATIENCE_S hold for the target, too.

    \b
    cxr push biomedclip --to http://qdrant:6333
    cxr push biomedclip --to https://qdrant.example --shards 4 --replicas 2 --quantization int8
    """
    from ingest.transfer import push as push_collection
    from retrieval.index.schema import collection_name

    options = _options(
        quantization, shards=shards, replicas=replicas, recreate=recreate, pause_optimizer=pause_optimizer
    )
    with _opened(index) as source, _other(to, source) as target, progress_bar(f"Pushing {model}") as progress:
        done = push_collection(
            source.open(collection_name(model)),
            target,
            options,
            progress=progress,
        )
    _report(done, as_json)


@snapshots.command()
def create(
    model: CollectedOption,
    file: Annotated[Path, typer.Argument(help="The file to write; one that is there is replaced at the end.")],
    index: IndexOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write the collection of MODEL to one FILE, which either engine can restore.

    It holds vectors, labels and the reports' texts: guard it as you guard the archive. Model bundle and thumbnails are
    not in it.

    \b
    cxr snapshot create biomedclip biomedclip.zip
    """
    from ingest.snapshot import create_snapshot
    from retrieval.index.schema import collection_name

    with _opened(index) as source, progress_bar(f"Writing {file.name}") as progress:
        notes = read_settings().drafts_dir
        done = create_snapshot(source.open(collection_name(model)), file, notes=notes, progress=progress)
    if as_json:
        print_json(done.to_dict())
    else:
        say(f"{done.collection}: {done.points:,} images in {done.file} ({done.size_bytes / 1e6:.1f} MB, read back)")
        if not done.complete:
            say(
                "the collection is not complete, and will not be when restored: its last ingest did not come to its end"
            )


@snapshots.command()
def restore(
    file: Annotated[Path, typer.Argument(help="A file that `cxr snapshot create` wrote.")],
    recreate: RecreateOption = False,
    shards: ShardsOption = 1,
    replicas: ReplicasOption = 1,
    quantization: QuantizationOption = None,
    pause_optimizer: PauseOption = False,
    index: IndexOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make the collection that FILE holds, in the embedded index or on a server, whichever it came from.

    The whole file is checked before anything is changed; a restore that fails after that leaves no collection behind.

    \b
    cxr snapshot restore biomedclip.zip
    cxr snapshot restore biomedclip.zip --index http://qdrant:6333 --recreate
    """
    from ingest.snapshot import restore_snapshot

    options = _options(
        quantization, shards=shards, replicas=replicas, recreate=recreate, pause_optimizer=pause_optimizer
    )
    with _opened(index) as target, progress_bar(f"Restoring {file.name}") as progress:
        done = restore_snapshot(
            file,
            target,
            options,
            progress=progress,
        )
    _report(done, as_json)


def drop(
    model: CollectedOption,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Also if it is the active model; then none is.")] = False,
    index: IndexOption = None,
    as_json: JsonOption = False,
) -> None:
    """Remove the collection of MODEL from the index; asks first. The model itself and the thumbnails stay.

    \b
    cxr drop biomedclip
    cxr drop biomedclip --yes --json
    """
    from retrieval.catalog import Catalog
    from retrieval.errors import InvalidRequest

    if as_json and not yes:
        raise InvalidRequest("--json answers no question; give --yes, too")

    def confirm(counts: dict[str, int]) -> bool:
        say(f"the collection of {model} holds {_describe(counts)}; its bundle and the thumbnails stay")
        return yes or typer.confirm("Remove it?", err=True)

    with Catalog(read_settings(index)) as catalog:
        counts = catalog.drop(model, force=force, confirm=confirm)
        active = next((status.key for status in catalog.models() if status.active), None)
    if as_json:
        print_json({"dropped": model, "counts": counts, "active": active})
    else:
        say("nothing was removed" if counts is None else f"the collection of {model} is gone")


@contextmanager
def _opened(location: str | None) -> Iterator[Index]:
    from retrieval.index import open_index

    opened = open_index(read_settings(location), patient=True)
    try:
        yield opened
    finally:
        opened.close()


@contextmanager
def _other(location: str, source: Index) -> Iterator[Index]:
    from retrieval.errors import InvalidRequest

    with _opened(location) as opened:
        if _place(opened) == _place(source):
            raise InvalidRequest(f"--to names the index that the collection lies in already: {source.location}")
        yield opened


def _place(index: Index) -> str:
    return index.location.rstrip("/") if "://" in index.location else str(Path(index.location).resolve())


def _options(quantization: str | None, **others: Any) -> LoadOptions:
    from ingest.transfer import LoadOptions
    from retrieval.errors import InvalidRequest

    if quantization not in (None, "none", "int8"):
        raise InvalidRequest(f"--quantization must be none or int8, found {quantization!r}")
    return LoadOptions(quantization=cast("Quantization | None", quantization), **others)


def _report(done: TransferSummary, as_json: bool) -> None:
    if as_json:
        print_json(done.to_dict())
        return
    say(
        f"{done.collection} in {done.location}: {done.sent:,} images sent, {done.unchanged:,} there already, "
        f"{done.verified:,} read back and equal, in {done.seconds:.1f} s"
    )
    say(f"it holds {_describe(done.counts)}")
    if done.kept:
        say(f"{done.kept:,} of them are not in the original and were kept; --recreate removes them")
    if not done.complete:
        say("the original is not complete, so the copy is not either: its last ingest did not come to its end")
    say("it is the active collection there" if done.active else "`cxr use` there makes it the active one")


def _describe(counts: dict[str, int]) -> str:
    return ", ".join(f"{count:,} images of {dataset}" for dataset, count in sorted(counts.items())) or "no images"
