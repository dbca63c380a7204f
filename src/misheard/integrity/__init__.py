"""Is what is kept whole: the database, the files that its rows point at, and the counts?"""
