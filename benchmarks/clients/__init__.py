"""Other people's libraries on our environments: what runs, and what a user had to change.

A client is a module here with `PACKAGES`, whose versions are told, and `CHECKS`: each a function
that does with a `World` what that library's users do, and raises where something is not as they
may expect. `python -m benchmarks.clients` runs them all and writes docs/clients.md; those that
need nothing but what developers have installed are tests as well.
"""
