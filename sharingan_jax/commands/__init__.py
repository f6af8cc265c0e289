"""The command line: each command parses its arguments, calls one public function, and prints.

`arguments` holds what the commands share."""
