"""`python -m niche_sim` is the same as `niche-sim`."""

from niche_sim.cli import main

if __name__ == "__main__":
    main()
