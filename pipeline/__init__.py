"""The engine of Winnow: reads shards, runs operators, stores columns, decides. Knows no method."""
