"""The web page of `accompgen web`."""
