"""Music by rule: words to a brief (``words``, ``styles``), a brief to a score (``score``,
``patterns``), a score to sound (``voices``, ``drums``, ``mix``)."""
