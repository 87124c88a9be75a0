"""Helpers that an exported file may need, as source. Most files need none."""

from __future__ import annotations

HELPER_SOURCES = {
    "_Module": '''class _Module:
    """Stands for a module of the original source: its attributes are names of this file."""

    def __init__(self, **names):
        self.__dict__["_names"] = names

    def __getattr__(self, name):
        try:
            return globals()[self.__dict__["_names"][name]]
        except KeyError:
            raise AttributeError(name) from None

    def __setattr__(self, name, value):
        globals()[self._names.setdefault(name, f"{id(self)}.{name}")] = value
''',
    "_revive": '''def _revive(cls, /, **attributes):
    """Return an object of a class with these attributes, its constructor left out."""
    made = object.__new__(cls)
    vars(made).update(attributes)
    return made
''',
    "_out_of_place": '''def _out_of_place(net):
    """Return a network in which no module that has the choice works in place: others may need what it overwrites."""
    for module in net.modules():
        if getattr(module, "inplace", None) is True:
            module.inplace = False
    return net
''',
    "_imported": '''def _imported(name):
    """Stand in for an import between the original files: return a thing of this file, or fail as the import would."""
    first, *rest = name.split(".")
    try:
        value = globals()[first]
        for part in rest:
            value = getattr(value, part)
    except (KeyError, AttributeError):
        raise ImportError(f"cannot import name {name!r}") from None
    return value
''',
    "_run_module": '''def _run_module(name, source):
    """Run the source of an original file in a namespace of its own."""
    import linecache
    import sys
    import types

    module = types.ModuleType(f"{__name__}.{name}")
    module.__dict__["_imported"] = _imported
    sys.modules[module.__name__] = module
    file = f"<{module.__name__}>"
    linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)
    exec(compile(source, file, "exec", dont_inherit=True), module.__dict__)
    return module
''',
}
"""Source by name."""
