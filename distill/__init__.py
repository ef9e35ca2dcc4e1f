"""Make the bundled model: teachers, their logits, the student and its folder in models/."""
