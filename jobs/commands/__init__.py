"""One thin function per command of the command line.

A command reads its options, calls the engine and prints. Its docstring is its help text: a summary of one
line, a paragraph if one is needed, and examples, in lines of at most 76 characters so that they fit 80
columns. Heavy imports are inside the functions, so that `winnow --help` starts quickly.

`options` has the arguments that several commands share, `output` how commands print and end, and
`reference` makes jobs/COMMANDS.md. `groups/` holds the commands that have commands of their own.
"""
