"""The ledger of a collection: an sqlite file that remembers files, quarantine, runs and text vectors."""

from ingest.ledger.ledger import RETRY, Ledger
from ingest.ledger.location import adopt_ledgers, ledger_path

__all__ = ["RETRY", "Ledger", "adopt_ledgers", "ledger_path"]
