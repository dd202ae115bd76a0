"""What every part of mlp_xp uses: types, namespaces, arguments, files. It imports no other part; it is not public."""
