"""Ranking, tables and pages made from records; reads records and never trains."""

if __name__ != "splitsec.leaderboard":
    raise ImportError(
        "import splitsec.leaderboard, not leaderboard: its classes would be loaded twice"
    )
