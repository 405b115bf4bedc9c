"""Playing dreams and real environments by hand, in a browser or a window, and looking at files.

A *session* is one person's play. It owns a dream, a real environment beside it, or both, and the
timeline of what was seen. The server only carries messages between a session and its page.
"""
