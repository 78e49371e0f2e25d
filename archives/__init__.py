'''Archives that studies are read from.

A source is an object with `dataset`, `image_count()` and `__iter__`, which yields `Study` and `Quarantined`
(`retrieval.records.Source`). `__init__` raises errors of the archive as a whole; a single bad row is quarantined. A new
source needs one file:

    """A file of JSON lines with one study in each line: {"case": "7", "files": ["7/pa.png"], "findings": "Clear."}."""

    import json
    from archives.file_tree import FileTree
    from archives.views import view_of_name
    from retrieval.errors import RetrievalError
    from retrieval.records import ImageRecord, Quarantined, Report, Study

    class JsonLinesSource:
        def __init__(self, path, *, dataset="cases"):
            self.dataset = dataset
            self._folder = FileTree(path.parent)
            self._cases = [json.loads(line) for line in path.read_text().splitlines()]

        def image_count(self):
            return sum(len(case["files"]) for case in self._cases)

        def __iter__(self):
            for case in self._cases:
                images = []
                for name in case["files"]:
                    try:
                        images.append(ImageRecord(name, self._folder.locate(name), view_of_name(name)))
                    except RetrievalError as error:
                        yield Quarantined.because(name, error)
                if images:
                    yield Study(case["case"], self.dataset, tuple(images), Report(findings=case["findings"]))

`Worker.run(JsonLinesSource(path))` ingests it. To add it to `cxr ingest`, add its kind to `archives/source_spec.py`.
'''

import retrieval  # noqa: F401  first: it switches the telemetry of other libraries off
