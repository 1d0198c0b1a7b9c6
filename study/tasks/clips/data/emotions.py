"""DFEW's seven emotions and how often each occurs; procedural faces show the same ones."""

EMOTIONS = ("happy", "sad", "neutral", "angry", "surprise", "disgust", "fear")
"""In the order of DFEW's labels."""
DFEW_CLIPS = (2445, 1894, 2669, 2173, 1469, 145, 902)
"""Clips of each emotion in any train list of DFEW together with its test list (Jiang et al., 2020)."""
