"""The ledger: what was wanted, what was sent, what came back, and every move in between."""

from qjobs.ledger.ledger import Ledger
from qjobs.ledger.planning import Seen

__all__ = ["Ledger", "Seen"]
