"""Whether a picture shows what its prompt says, told by classical vision that knows no model.

``reader`` says what is in a picture, ``prompts`` has questions with their right answers,
``scoring`` compares the two, ``sheet`` lays pictures out for a person to look at.
"""
