"""Private, used by all parts of mlp_xp: types, namespaces, checks of arguments, files. It imports no other."""
