"""Which slice next: pools, selection rules and the table that names them."""
