"""The command line `cxr`: one module for each command, imported when the command runs."""

import retrieval  # noqa: F401  must be first: it disables the telemetry of other libraries
