"""Commands of the shell, the only part of the client that prints or exits."""
