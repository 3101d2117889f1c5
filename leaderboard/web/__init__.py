"""The leaderboard as a static page: one folder that opens from disk and asks no network.

``content`` says what is on it, ``publication`` what of a record leaves the machine, ``folder``
writes it; ``templates`` and ``assets`` are what a browser gets.
"""
