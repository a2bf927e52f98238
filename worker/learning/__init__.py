"""The learning core: tensors in, tensors out; it knows no database, no files of the service and no HTTP."""
