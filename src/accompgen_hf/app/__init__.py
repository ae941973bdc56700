"""The command `accompgen`: options, work, folders of results, pictures."""
