"""The one error that is for users."""


class UserError(Exception):
    """Something a user can put right. The command line prints it without a traceback and exits with code 2."""
