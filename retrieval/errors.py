"""All errors of the project. Longer than 300 lines on purpose: one place lists every code.

Every error that a user can meet derives from `RetrievalError` and has a stable `code`. The command line prints it; JSON
summaries and HTTP problem documents contain it. Messages name the file, what was expected and what was found; they never
contain report text or other patient data.
"""

from __future__ import annotations

from typing import ClassVar


class RetrievalError(Exception):
    """Base of all errors. `code` never changes; `http_status` is the status of the HTTP response."""

    code: ClassVar[str] = "error"
    http_status: ClassVar[int] = 500

    @property
    def public(self) -> str:
        """The message for callers over HTTP."""
        return str(self)


class InvalidRequest(RetrievalError):
    """A parameter of a request is outside its documented range."""

    code = "invalid_request"
    http_status = 400


class UnknownFinding(InvalidRequest):
    """A filter names a finding that neither a vocabulary nor the collection has."""

    code = "unknown_finding"


class UnknownModel(RetrievalError):
    """No bundle, registry entry or collection has this name."""

    code = "unknown_model"
    http_status = 404


class UnknownStudy(RetrievalError):
    """The collection has no such study."""

    code = "unknown_study"
    http_status = 404


class ImageError(RetrievalError):
    """An image cannot be used; subclasses name the reason."""

    code = "unreadable_image"
    http_status = 422


class UnreadableImage(ImageError):
    """A damaged file, or not an image; subclasses are more specific where possible."""


class EmptyFile(UnreadableImage):
    """A file of zero bytes."""

    code = "empty_file"


class WrongType(UnreadableImage):
    """A file of a format that is not accepted: text, PDF, GIF, an archive."""

    code = "wrong_type"


class TruncatedImage(UnreadableImage):
    """The file ends before its image does."""

    code = "truncated_image"


class BadPixelDescription(UnreadableImage):
    """The header's description of the pixels is missing, impossible, or contradicts the file."""

    code = "bad_pixel_description"


class UnsupportedTransferSyntax(UnreadableImage):
    """A DICOM file with a compression that this version cannot decode."""

    code = "unsupported_transfer_syntax"


class ImageTooComplex(UnreadableImage):
    """An image with so many parts that decoding would take too long; nothing was decoded."""

    code = "image_too_complex"


class DecodeTimeout(UnreadableImage):
    """Decoding took longer than the limit, and was stopped."""

    code = "decode_timeout"


class DecoderCrashed(UnreadableImage):
    """The decoding process crashed, or exceeded the memory limit of one image."""

    code = "decoder_crashed"


class NoPixels(ImageError):
    """A DICOM object without pixel data."""

    code = "no_pixels"


class NoContrast(ImageError):
    """All pixels have the same value, or are displayed with the same value."""

    code = "no_contrast"


class MultiFrame(ImageError):
    """An image with more than one frame: a cine loop, a volume, an animation."""

    code = "multi_frame"


class BurnedIn(ImageError):
    """A DICOM file declares burned-in annotations, which can name the patient."""

    code = "burned_in"


class ImageTooLarge(ImageError):
    """More bytes than the limit, or a shape that cannot be prepared within it."""

    code = "image_too_large"
    http_status = 413


class ImageBomb(ImageTooLarge):
    """The header declares more pixels, or the compression more bytes, than the limit; nothing was decoded."""

    code = "image_bomb"


class WrongModality(RetrievalError):
    """A DICOM image that is not a radiograph."""

    code = "wrong_modality"


class MissingFile(RetrievalError):
    """A file that a table or command names does not exist."""

    code = "missing_file"


class PathOutside(RetrievalError):
    """A row names a file outside the folder it belongs to."""

    code = "path_outside"


class SaltDamaged(RetrievalError):
    """The file with the salt of hashed UIDs is damaged."""

    code = "salt_damaged"


class SourceError(RetrievalError):
    """A source cannot be read at all: a missing file, a missing column."""

    code = "bad_source"


class MissingColumn(SourceError):
    """A table lacks a column that its source needs."""

    code = "missing_column"


class SourceDiffers(SourceError):
    """A dataset was filled from another source than the one now given under its name."""

    code = "source_differs"


class SaltDiffers(RetrievalError):
    """The ids of a collection were made with another salt than the one of this home."""

    code = "salt_differs"


class BundleError(RetrievalError):
    """A model bundle lacks files, is damaged, or has an unknown format."""

    code = "bad_bundle"


class BundleDamaged(BundleError):
    """A file of a bundle does not match the checksum in its manifest."""

    code = "bundle_damaged"


class BundleMismatch(RetrievalError):
    """Another bundle than the installed one built the collection."""

    code = "bundle_mismatch"
    http_status = 409


class DeviceUnavailable(RetrievalError):
    """The requested device is not in use."""

    code = "device_unavailable"


class SystemFailure(RetrievalError):
    """The operating system refused a file, a folder or an address."""

    code = "system_error"


class TelemetryActive(RetrievalError):
    """A library was loaded before its telemetry could be switched off."""

    code = "telemetry_active"


class DiskFull(SystemFailure):
    """The disk is full."""

    code = "disk_full"
    http_status = 507


class MissingExtra(RetrievalError):
    """A command needs an optional dependency that is not installed."""

    code = "missing_extra"


class IndexFailure(RetrievalError):
    """The vector index failed, or is in an unusable state.

    The message may contain the address of a server and its words; `public` never does.
    """

    code = "index_error"
    _public: ClassVar[str | None] = None

    def __init__(self, message: str, *, public: str | None = None) -> None:
        super().__init__(message)
        self._for_callers = public or self._public or message

    @property
    def public(self) -> str:
        """The message for callers over HTTP."""
        return self._for_callers


class IndexLocked(IndexFailure):
    """The embedded index is open in another process."""

    code = "index_locked"
    http_status = 503


class IndexUnreachable(IndexFailure):
    """The Qdrant server does not answer, or cannot at present."""

    code = "index_unreachable"
    http_status = 503
    _public = "the index does not answer; try again later"
    retry_after_s: int = 5
    """Value of `Retry-After` in the HTTP response."""


class IndexForbidden(IndexFailure):
    """The Qdrant server refuses the key or token, or it lacks a right."""

    code = "index_forbidden"
    http_status = 503
    _public = "the index refuses the key of this service; its log says why"


class CollectionDamaged(IndexFailure):
    """The files of a collection are damaged."""

    code = "collection_damaged"


class AliasDamaged(IndexFailure):
    """The record of the active model cannot be read."""

    code = "alias_damaged"


class NoCollection(IndexFailure):
    """There is no collection of this name, or no active model yet."""

    code = "no_collection"
    http_status = 409


class CountsDiffer(IndexFailure):
    """The collection to be activated is incomplete, or lacks images of the active one."""

    code = "counts_differ"
    http_status = 409


class ModelActive(IndexFailure):
    """The collection to be dropped is the active one."""

    code = "model_active"
    http_status = 409


class CollectionExists(IndexFailure):
    """A collection of this name exists, and replacing it was not requested."""

    code = "collection_exists"
    http_status = 409


class TransferFailed(IndexFailure):
    """A copy of a collection differs from the original."""

    code = "transfer_failed"


class SnapshotDamaged(RetrievalError):
    """A snapshot file is damaged, or has an unknown format."""

    code = "snapshot_damaged"


class ExportError(RetrievalError):
    """An export failed, or its result differs from the reference."""

    code = "export_failed"


class ParityError(ExportError):
    """The exported graph does not reproduce the reference model."""

    code = "parity_failed"


class TrainingError(RetrievalError):
    """Training cannot start, or failed (no pairs, one class, NaN loss)."""

    code = "training_failed"
