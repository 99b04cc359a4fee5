"""The learners of others, each as its own page has it: what `python -m training` is compared with."""
