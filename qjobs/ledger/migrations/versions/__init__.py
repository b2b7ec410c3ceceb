"""One module for each schema of the ledger, with the steps that lead to it from the one before."""
