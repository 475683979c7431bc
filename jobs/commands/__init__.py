"""One thin function per command of the command line.

A command reads its options, calls the engine, and prints. Heavy imports are inside the functions, so that
`winnow --help` starts quickly. `options` holds the arguments that commands share.
"""
