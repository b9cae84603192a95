"""Pure: who speaks when. Time is an argument."""
