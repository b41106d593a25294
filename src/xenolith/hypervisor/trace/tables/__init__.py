"""How the arguments of each hypercall look, as data: one module for each public header."""
