"""Our backends as other libraries know theirs."""
