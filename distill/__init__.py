"""Make the bundled model: teachers, their logits and the student's first weights."""
