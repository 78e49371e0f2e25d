"""From a torch checkpoint to a model bundle, and from image-report pairs to a checkpoint. The only home of torch."""

import retrieval  # noqa: F401  first: it switches the telemetry of other libraries off
