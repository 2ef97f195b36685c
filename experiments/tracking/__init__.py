"""MLflow: a projection of the ledger, made by a process of its own."""
