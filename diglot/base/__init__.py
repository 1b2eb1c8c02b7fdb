"""The ground floor: artifacts, the ledger, the executor of tasks, files, devices, and how things are shown."""
