"""This service beside the servers of others: the same model, pictures and machine, one after another."""
