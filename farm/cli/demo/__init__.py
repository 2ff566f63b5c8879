"""``farm demo``: the whole farm from start to stop, used as a customer would use it."""
