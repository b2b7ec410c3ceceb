"""`make shell`: a Python prompt with `qjobs` imported, which stays in the home of this project wherever it goes."""

from __future__ import annotations

import code
import importlib.util
import os
import sys

import qjobs
from qjobs.paths import data_home

__all__ = ["main"]


def main() -> int:
    """Run the prompt, IPython's where that is installed; the exit code is 0."""
    os.environ["QJOBS_HOME"] = str(data_home())
    banner = f"qjobs is imported; its home is {data_home()}. Try: qjobs.jobs(), qjobs.load(NAME).frame"
    names = {"qjobs": qjobs}
    if importlib.util.find_spec("IPython") is not None:
        from IPython import start_ipython

        print(banner)
        start_ipython(argv=["--no-banner"], user_ns=names)
    else:
        code.interact(banner, local=names, exitmsg="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
