"""`python -m training.seen`, the older way to draw the rendered pictures anew."""

from .synthesis.rendered import main

if __name__ == "__main__":
    main()
