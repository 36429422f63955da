"""Where samples come from: named datasets, folders of images and tables of vectors.

Each becomes one memory-mapped array with labels kept apart and a fingerprint of its content.

    dataset     what a dataset is (images or points), and `open`
    catalogue   the named datasets, one record each; protocols: what is trained on and scored
    folder      the layout of a folder of images; pixels: how a file becomes pixels; sides: how many
    _tables     the user's own tables of numbers; _frames, _columns, _float32: how they are read
    _entry      what a named dataset is; _arrays, _pictures, _openml, _imagenet build them
    _download   published archives; _decode: image files into one array; _cache: arrays on disk

May import what stands to its left in CONTRIBUTING.md.
"""
