"""The command ``cottoncandy``: parses arguments, prints results, sets exit codes; nothing else."""
