"""The commands that have commands of their own: `winnow store info`, `winnow subset and`, ..."""
