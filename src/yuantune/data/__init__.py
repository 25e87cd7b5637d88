"""Data: from source files to validated `Record`s, and from those to examples.

    readers    any file, folder or hub dataset -> Record; what it stands on: `files` (bytes to lines),
               `strict_json`, `tables` (CSV, Parquet), `tagged`, `annotations`, `hub`, and `fields`
               (one row -> Record)
    template   how a record becomes a prompt; `labels` (the canonical answer), `framing` (how prompt and
               answer end with a tokenizer), `encoding` (control tokens in text stay text), `bound` (a
               template with its tokenizer: record -> Example)
    check      records -> `ExampleSet` (`examples`) and findings (`check_report`), before training
    convert    tagged or annotated files -> extraction records on disk
    split      held-out rows, weighted mixes
    get        data sets that yuantune may not ship
    writing    files that are whole or absent

Import the module that has what you need: importing the room itself costs nothing.
"""
