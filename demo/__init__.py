"""The article's interactive demos: V, M and C of trained agents, computed in the browser."""
