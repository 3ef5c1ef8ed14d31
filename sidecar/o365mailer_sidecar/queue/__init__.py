"""What happens to a message in the spool: accept, schedule, finish, give notice."""
