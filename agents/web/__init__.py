"""The page and the JSON API that any worker serves, straight from Redis."""
