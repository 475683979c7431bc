"""What people see: tables and progress, on stderr. Numbers for programs go to stdout as JSON."""
