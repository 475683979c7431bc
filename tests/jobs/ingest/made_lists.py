"""Lists of URLs for the tests of `winnow ingest`."""

HERE = ("--local", "--processes", 1)
