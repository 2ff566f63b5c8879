"""Models that another service runs: the connection (``wire``), one run's calls (``caller``), what
goes wrong there (``problems``), its answers (``answers``), and pictures (``pictures``) and films
(``films``) on their way out and back in."""
