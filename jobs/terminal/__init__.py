"""Tables and progress for people, on stderr. Numbers for programs go to stdout as JSON, from the commands."""
