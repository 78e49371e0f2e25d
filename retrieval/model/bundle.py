"""Model bundles: folders with a manifest, two ONNX towers and a tokenizer, verified by checksum.

```
<name>/manifest.json  image.onnx  text.onnx  tokenizer.json
```

Graphs take `pixel_values` float32 [B,3,H,W], `input_ids` int64 [B,L] and, where the manifest says so, `attention_mask`
int64 [B,L]. They return `image_embeds` and `text_embeds` float32 [B,D] of unit norm. `exporters` writes bundles.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from retrieval.errors import BundleDamaged, BundleError, UnknownModel
from retrieval.imaging.model_input import Preprocessing

MANIFEST = "manifest.json"
IMAGE_GRAPH = "image.onnx"
TEXT_GRAPH = "text.onnx"
TOKENIZER = "tokenizer.json"

# Bundles that ship with the package: a fresh clone can search before the first export.
PACKAGED_DIR = Path(__file__).parents[1] / "bundles"

Positive = Annotated[int, msgspec.Meta(gt=0)]


class Tokenization(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Steps from a string to token ids.

    `fixed` pads every text to `context_length`. `longest` pads to the longest text of the batch, for towers that are
    proven to ignore padding. `normalization` comes before the tokenizer: `siglip` lower-cases, strips ASCII punctuation
    and collapses white space, as the reference tokenizer does; `open_clip` repairs the text with ftfy, resolves HTML
    entities and collapses white space, as open_clip's tokenizers do; `open_clip_lower` then lower-cases, and
    `open_clip_canonicalize` also strips punctuation.
    """

    context_length: Positive
    padding: Literal["fixed", "longest"] = "fixed"
    pad_id: Annotated[int, msgspec.Meta(ge=0)] = 0
    normalization: Literal["none", "lowercase", "siglip", "open_clip", "open_clip_lower", "open_clip_canonicalize"] = (
        "none"
    )
    attention_mask: bool = False


class Parity(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Agreement of the bundle with the reference model, from raw inputs to embeddings.

    Cosines are -1..1; `pixels_max_abs` is the largest difference of `pixel_values` from those of the reference processor;
    `token_ids_equal` is true if all token ids were equal.
    """

    images: int
    texts: int
    image_cosine_mean: float
    image_cosine_min: float
    text_cosine_mean: float | None
    text_cosine_min: float | None
    pixels_max_abs: float
    token_ids_equal: bool | None


class PrecisionCheck(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Agreement of a bundle below float32 with its float32 graphs, measured on `sample`.

    Cosines are -1..1. Agreements are 0..1: the share of each query's ten nearest images that float32 finds as well.
    `passed` is false if the check failed and the user kept the bundle anyway.
    """

    sample: str
    images: int
    texts: int
    image_cosine_mean: float
    image_cosine_min: float
    text_cosine_mean: float
    text_cosine_min: float
    image_top10_agreement: float
    text_top10_agreement: float
    passed: bool


class BorrowedFiles(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Files of another hub repository that the export used, because the checkpoint's own repository lacks them."""

    source: str
    revision: str | None
    files: tuple[str, ...]


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Description of a bundle: its source, its inputs, its files. Unknown fields and values raise on reading."""

    format: Literal[1] = 1
    name: str
    family: Literal["clip", "siglip", "open_clip"]
    source: str
    revision: str | None
    licence: str
    dim: Positive
    precision: Literal["fp32", "fp16", "int8"]
    preprocessing: Preprocessing
    tokenization: Tokenization | None
    logit_scale: float
    logit_bias: float | None
    parity: Parity
    """Of the float32 graphs, from which bundles of other precisions are made."""
    precision_check: PrecisionCheck | None = None
    """None for float32."""
    borrowed: tuple[BorrowedFiles, ...] = ()
    """Tokenizer, image processor or config from other repositories."""
    exporter: dict[str, str]
    created_at: str
    files: dict[str, str]
    """SHA-256 of every other file of the bundle, by name."""

    @property
    def bundle_id(self) -> str:
        """Hash of checksums and settings, 16 hexadecimal digits; bundles with equal ids give equal embeddings."""
        settings = msgspec.json.encode((self.preprocessing, self.tokenization))
        listing = "\n".join(f"{name} {digest}" for name, digest in sorted(self.files.items()))
        return hashlib.sha256(settings + listing.encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class ModelBundle:
    """A bundle on disk, with its manifest."""

    folder: Path
    manifest: Manifest

    @classmethod
    def load(cls, folder: Path, *, verify: bool = True) -> ModelBundle:
        """Read the bundle in `folder`.

        Raises:
            BundleError: the manifest is missing, malformed or has unknown fields or values.
            BundleDamaged: a file is missing or does not have its checksum (only with `verify`).
        """
        path = folder / MANIFEST
        try:
            manifest = msgspec.json.decode(path.read_bytes(), type=Manifest)
        except FileNotFoundError:
            raise BundleError(f"{folder} is not a model bundle: it has no {MANIFEST}") from None
        except OSError as error:
            raise BundleError(f"{path} cannot be read: {error.strerror}; export or install the model again") from error
        except (msgspec.MsgspecError, RecursionError) as error:
            raise BundleError(
                f"this version cannot read the manifest {path}: {error}; export or install the model again"
            ) from error
        bundle = cls(folder=folder, manifest=manifest)
        if verify:
            bundle.verify()
        return bundle

    @property
    def name(self) -> str:
        """Name of the model and of the folder."""
        return self.manifest.name

    @property
    def bundle_id(self) -> str:
        """See `Manifest.bundle_id`."""
        return self.manifest.bundle_id

    @property
    def has_text(self) -> bool:
        """Whether the bundle has a text tower."""
        return self.manifest.tokenization is not None

    @property
    def size_bytes(self) -> int:
        """Size of all files in bytes."""
        return sum(path.stat().st_size for path in self.folder.iterdir())

    def path(self, name: str) -> Path:
        """Path of one of the bundle's files."""
        return self.folder / name

    def verify(self) -> None:
        """Compare every file with its checksum.

        Raises:
            BundleDamaged: names the first file that is missing or has changed.
        """
        for name, expected in self.manifest.files.items():
            if Path(name).name != name:
                raise BundleError(f"{self.folder / MANIFEST} names a file outside its folder: {name}")
            path = self.folder / name
            if not path.is_file():
                raise BundleDamaged(f"{path} is missing; export or install the model {self.name} again")
            found = sha256_of(path)
            if found != expected:
                raise BundleDamaged(
                    f"{path} has changed: expected sha256 {expected[:12]}…, found {found[:12]}…; "
                    f"export or install the model {self.name} again"
                )


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def installed_bundles(models_dir: Path) -> dict[str, Path]:
    """Folders of all bundles by name: those in `models_dir`, and packaged ones of other names."""
    found: dict[str, Path] = {}
    for root in (models_dir, PACKAGED_DIR):
        for path in sorted(root.glob(f"[!.]*/{MANIFEST}")):
            found.setdefault(path.parent.name, path.parent)
    return found


def find_bundle(name: str, models_dir: Path, *, verify: bool = True) -> ModelBundle:
    """Load the installed bundle `name`.

    Raises:
        UnknownModel: there is none; the message lists the installed ones. BundleError: it is unreadable or was renamed.
    """
    bundles = installed_bundles(models_dir)
    if name not in bundles:
        listing = ", ".join(sorted(bundles)) or "none"
        raise UnknownModel(f"no model {name!r} is installed (installed: {listing}); see `cxr models`")
    bundle = ModelBundle.load(bundles[name], verify=verify)
    if bundle.name != name:
        raise BundleError(f"{bundle.folder} holds the model {bundle.name}; rename the folder to the name of its model")
    return bundle
