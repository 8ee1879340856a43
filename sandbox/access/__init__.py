"""Who calls: accounts, users, roles and their keys, and the signatures made with them.

`authentication` is the door: a request in, a `Principal` out. `store` keeps what an administrator
has made, `sessions` makes the short-lived keys that need no keeping. Nothing is imported here: the
command `fnbox` wants a secret without the database.
"""
