"""Galleries: chosen samples with their pictures, as a page, a contact sheet, or a folder of sheets.

`write.py` writes one, from `labels.py`, what is said of a sample; `sheet.py`, pictures beside each other;
`page.py`, the page; and `sample.py`, one sample with all that is known of it.
"""
