"""NextSlice, the service: people, files, tables and HTTP, and no tensor."""
