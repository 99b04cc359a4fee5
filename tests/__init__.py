"""The tests: units mirror the packages, `system` drives whole processes, `support` holds what several tests share."""
