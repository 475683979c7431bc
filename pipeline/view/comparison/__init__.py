"""Two cuts of one pool beside each other, for `winnow compare`.

`pairs.py` puts each sample of one cut beside the same sample of the other; `compare.py` counts them;
`results.py` says what is counted; `page.py` shows it.
"""
