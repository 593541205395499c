"""`latelabel doctor`: is everything as the counts need it, and if not, what is to be done.

Each check is a function from what was seen to findings, so that it can be tested without the trouble it looks for;
`examination` is where services are asked.
"""
