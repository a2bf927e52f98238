"""The rules: who may do what with which rows, in the units of work that the edges open."""
