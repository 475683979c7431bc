"""Two cuts of one pool beside each other, for `winnow compare`.

`pairs.py` puts each sample of one cut beside the same sample of the other; `compare.py` counts them;
`page.py` shows them.
"""
