"""What side_by_side.py and scale.py share: the programs, their data, and how a run is measured and reported."""
