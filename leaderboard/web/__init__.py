"""The leaderboard as a static page: one folder that opens from disk without a network.

``content`` makes its values, ``publication`` removes private parts of records, and ``folder``
writes the page from ``templates`` and ``assets``.
"""
