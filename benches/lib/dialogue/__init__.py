"""The bounds of dialogues; see `dialogue.py`, two folders up."""
