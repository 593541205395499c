"""Whether a model is fast, sound and within its means, apart from whether it is right."""
