"""Search history: the API is declared, its calls are not offered yet."""
