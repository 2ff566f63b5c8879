"""Things put together by rule from simple shapes: what the twin of Shap-E makes of words."""
