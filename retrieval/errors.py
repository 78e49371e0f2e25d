"""The one error tree of the project.

Every error a user can cause or meet derives from `RetrievalError` and carries a stable `code`, which the command line
prints, the JSON summaries hold and HTTP problem documents name. Messages name the file, what was expected and what was
found; they never hold report text or other patient data.
"""

from __future__ import annotations

from typing import ClassVar


class RetrievalError(Exception):
    """Root of the tree. `code` is stable; `http_status` is what the service answers with."""

    code: ClassVar[str] = "error"
    http_status: ClassVar[int] = 500


class InvalidRequest(RetrievalError):
    """A parameter of a request is outside its documented range."""

    code = "invalid_request"
    http_status = 400


class UnknownFinding(InvalidRequest):
    """A finding named in a filter exists in neither vocabulary nor in the collection."""

    code = "unknown_finding"


class UnknownModel(RetrievalError):
    """No bundle, registry entry or collection goes by this name."""

    code = "unknown_model"
    http_status = 404


class UnknownStudy(RetrievalError):
    """The collection holds no such study."""

    code = "unknown_study"
    http_status = 404


class ImageError(RetrievalError):
    """An image cannot be used. Subclasses say why."""

    code = "unreadable_image"
    http_status = 422


class UnreadableImage(ImageError):
    """Damaged, or not an image at all. Subclasses say which, where that can be told."""


class EmptyFile(UnreadableImage):
    """A file of zero bytes."""

    code = "empty_file"


class WrongType(UnreadableImage):
    """Of a format that is not accepted: text, PDF, GIF, an archive."""

    code = "wrong_type"


class TruncatedImage(UnreadableImage):
    """The file ends before its image does."""

    code = "truncated_image"


class BadPixelDescription(UnreadableImage):
    """What the header says of the pixels is missing, impossible, or not what the file holds."""

    code = "bad_pixel_description"


class UnsupportedTransferSyntax(UnreadableImage):
    """DICOM, compressed in a way that cannot be decoded here."""

    code = "unsupported_transfer_syntax"


class ImageTooComplex(UnreadableImage):
    """Cut into so many parts that decoding it would take long; nothing was decoded."""

    code = "image_too_complex"


class DecodeTimeout(UnreadableImage):
    """Its decoding took longer than an honest image can take, and was ended."""

    code = "decode_timeout"


class DecoderCrashed(UnreadableImage):
    """The process that decoded it died, or needed more memory than one image may have."""

    code = "decoder_crashed"


class NoPixels(ImageError):
    """A DICOM object without pixel data."""

    code = "no_pixels"


class NoContrast(ImageError):
    """All pixels are the same, or nothing tells them apart once they are shown."""

    code = "no_contrast"


class MultiFrame(ImageError):
    """More than one frame: a film loop, a volume, an animation; a radiograph has one."""

    code = "multi_frame"


class BurnedIn(ImageError):
    """A DICOM file says that its pixels hold annotations, which can name the patient."""

    code = "burned_in"


class ImageTooLarge(ImageError):
    """More bytes than the limits allow, or a shape that cannot be prepared within them."""

    code = "image_too_large"
    http_status = 413


class ImageBomb(ImageTooLarge):
    """The header announces more pixels, or the compression more bytes, than the limits allow; nothing was decoded."""

    code = "image_bomb"


class WrongModality(RetrievalError):
    """A DICOM image that is no radiograph."""

    code = "wrong_modality"


class MissingFile(RetrievalError):
    """A row names a file that is not there."""

    code = "missing_file"


class PathOutside(RetrievalError):
    """A row names a file outside the folder it belongs to."""

    code = "path_outside"


class SaltDamaged(RetrievalError):
    """The secret with which UIDs are hashed is not what was once written."""

    code = "salt_damaged"


class SourceError(RetrievalError):
    """A source cannot be read at all: a missing file, a missing column."""

    code = "bad_source"


class MissingColumn(SourceError):
    """A table lacks a column that its source needs."""

    code = "missing_column"


class SourceDiffers(SourceError):
    """A dataset was last filled from another source than the one that is to be ingested under its name."""

    code = "source_differs"


class SaltDiffers(RetrievalError):
    """The ids of a collection were made with another salt than that of this home."""

    code = "salt_differs"


class BundleError(RetrievalError):
    """A model bundle is missing files, damaged, or of a form this version does not know."""

    code = "bad_bundle"


class BundleDamaged(BundleError):
    """A file of a bundle does not have the checksum that its manifest records."""

    code = "bundle_damaged"


class BundleMismatch(RetrievalError):
    """A collection was built by another bundle than the one that asks."""

    code = "bundle_mismatch"
    http_status = 409


class DeviceUnavailable(RetrievalError):
    """The device asked for is not the one in use."""

    code = "device_unavailable"


class SystemFailure(RetrievalError):
    """The operating system refuses a file, a folder or an address."""

    code = "system_error"


class TelemetryActive(RetrievalError):
    """A library was loaded before its telemetry could be switched off."""

    code = "telemetry_active"


class DiskFull(SystemFailure):
    """A disk has no room for what is to be written."""

    code = "disk_full"
    http_status = 507


class MissingExtra(RetrievalError):
    """A command needs an optional dependency that is not installed."""

    code = "missing_extra"


class IndexFailure(RetrievalError):
    """The vector index failed or is in a state that cannot be used."""

    code = "index_error"


class IndexLocked(IndexFailure):
    """The embedded index is open in another process."""

    code = "index_locked"
    http_status = 503


class IndexUnreachable(IndexFailure):
    """The Qdrant server does not answer."""

    code = "index_unreachable"
    http_status = 503


class CollectionDamaged(IndexFailure):
    """The files of a collection are not what was written."""

    code = "collection_damaged"


class AliasDamaged(IndexFailure):
    """It cannot be read which model is active."""

    code = "alias_damaged"


class NoCollection(IndexFailure):
    """No collection of this name, or no active model yet."""

    code = "no_collection"
    http_status = 409


class CountsDiffer(IndexFailure):
    """The collection to be made active is not complete, or lacks images that the active one holds."""

    code = "counts_differ"
    http_status = 409


class ModelActive(IndexFailure):
    """The collection to be dropped is the one that searches use."""

    code = "model_active"
    http_status = 409


class CollectionExists(IndexFailure):
    """There is a collection of this name already, and it was not asked to be replaced."""

    code = "collection_exists"
    http_status = 409


class TransferFailed(IndexFailure):
    """A copy of a collection is not what the original is."""

    code = "transfer_failed"


class SnapshotDamaged(RetrievalError):
    """A snapshot file is not whole, or of a form this version does not know."""

    code = "snapshot_damaged"


class ExportError(RetrievalError):
    """An export cannot be done, or its result does not equal the reference."""

    code = "export_failed"


class ParityError(ExportError):
    """The exported graph does not reproduce the reference model."""

    code = "parity_failed"


class TrainingError(RetrievalError):
    """Training cannot start or has broken down (no pairs, one class, NaN loss)."""

    code = "training_failed"
