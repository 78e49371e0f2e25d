"""The command line `cxr`: one module for each group of commands, imported when a command of it runs."""

import retrieval  # noqa: F401  first: it switches the telemetry of other libraries off
