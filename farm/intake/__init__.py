"""The way in for pictures: uploads and URLs, checked before anything works on them."""
