"""Reads packed histograms with Divi's own decoder: JSON of many in, JSON of counts, or of why not, out.

    python decode_histograms.py < ENTRIES.json

It is run by an interpreter that has Divi, and nothing of ours.
"""

from __future__ import annotations

import json
import sys

from divi.backends import _results_processing as processing

decode = getattr(processing, "_decode_histogram_b64", None) or processing._decode_qh1_b64
found = []
for entry in json.load(sys.stdin):
    try:
        found.append(decode(entry))
    except (ValueError, IndexError) as error:
        found.append(f"{type(error).__name__}: {error}")
json.dump(found, sys.stdout)
