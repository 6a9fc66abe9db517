"""An export as Croissant 1.1 metadata (mlcommons.org/croissant): its files with their hashes, its records by field, and
where it comes from in terms of the responsible-AI vocabulary. Names no date, so that it is the same anywhere."""

import json
from collections.abc import Iterable, Sequence
from typing import Any, Final

import pyarrow as pa

from ranking.names import canonical_json
from ranking.subsets.export.folder import File

FILE: Final = "croissant.json"

_CONTEXT: Final = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "arrayShape": "cr:arrayShape",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "containedIn": "cr:containedIn",
    "cr": "http://mlcommons.org/croissant/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "description": {"@container": "@language"},
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileObject": "cr:fileObject",
    "fileProperty": "cr:fileProperty",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isArray": "cr:isArray",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "name": {"@container": "@language"},
    "parentField": "cr:parentField",
    "path": "cr:path",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}
_MEDIA: Final = {
    "parquet": "application/x-parquet",
    "jsonl": "application/jsonlines",
    "tar": "application/x-tar",
    "csv": "text/csv",
}
_RECORDS: Final = {
    "parquet": {"fileSet": {"@id": "shards"}},
    "csv": {"fileObject": {"@id": "pairs.csv"}},
    "jsonl": {"fileObject": {"@id": "pairs.jsonl"}},
}
"""Where the records are, by the ending of the data's files. Those of tar files are left to the file set that names
them: the reference reader finds no fields in JSON files of archives."""

_TYPES: Final = {"string": "sc:Text", "double": "sc:Float", "int64": "sc:Integer", "bool": "sc:Boolean"}


def croissant(
    facts: dict[str, Any], files: Sequence[File], *, schema: pa.Schema, images: Sequence[str], counts: dict[str, Any]
) -> bytes:
    """The metadata of an export. `schema` names the columns of its records, `images` those of its columns that hold
    pictures, as bytes or as {bytes, path}."""
    subset, dataset = facts["subset"], facts["dataset"]
    data = [file for file in files if _ending(file) in _MEDIA]
    ending = _ending(data[-1]) if data else ""
    document = {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.1",
        "name": subset,
        "description": f"{counts['pairs']} image-preference pairs: the subset {subset} of the dataset "
        f"{dataset['name']}, ranked and exported by Pairsieve.",
        "version": f"1.0.0+{subset.partition('@')[2]}",
        "license": dataset["licence"],
        "citeAs": f"Pairsieve subset {subset}, sha256 {facts['sha256']}, of snapshot {facts['snapshot']['sha']}",
        "keywords": ["image preferences", "text-to-image", "direct preference optimisation"],
        "rai:dataCollection": _collection(facts),
        "rai:dataManipulationProtocol": f"Recipe: {canonical_json(facts['recipe']).decode()}",
        "rai:dataAnnotationProtocol": f"Labels: {canonical_json(facts['labels']['policy']).decode()}; "
        f"{facts['labels']['meaning']}.",
        "rai:machineAnnotationTools": [_tool(scorer) for scorer in facts["scorers"]],
        "rai:dataCollectionMissingData": _missing(counts),
        "distribution": [*_distribution(files, ending)],
        "recordSet": _record_sets(ending, schema, images),
    }
    return (json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()


def _collection(facts: dict[str, Any]) -> str:
    dataset, snapshot = facts["dataset"], facts["snapshot"]
    return (
        f"Selected from revision {dataset['revision']} (sha {dataset['sha']}, {dataset['pairs']} pairs) of the dataset "
        f"{dataset['name']}, licence {dataset['licence']}, as of snapshot {snapshot['number']} (sha {snapshot['sha']})."
    )


def _tool(scorer: dict[str, Any]) -> str:
    role = "named in the recipe" if scorer["named_in_recipe"] else "in the snapshot"
    return (
        f"{scorer['id']}, {role}, licence of the code {scorer['licence']}, of the weights {scorer['weights_licence']}"
    )


def _missing(counts: dict[str, Any]) -> str:
    left = ", ".join(f"{number} {reason}" for reason, number in counts["left_out"].items())
    return f"Pairs of the subset that are left out: {left or 'none'}."


def _distribution(files: Sequence[File], ending: str) -> Iterable[dict[str, Any]]:
    for file in files:
        yield {
            "@type": "cr:FileObject",
            "@id": file.path,
            "name": file.path,
            "contentUrl": file.path,
            "contentSize": f"{file.bytes} B",
            "encodingFormat": _MEDIA.get(_ending(file), "text/plain"),
            "sha256": file.sha256,
        }
    shards = [{"@id": file.path} for file in files if _ending(file) == ending]
    if ending == "parquet":
        yield _file_set("shards", _MEDIA[ending], "data/train-*.parquet")
    if ending == "tar":
        yield _file_set("records", "application/json", "*.json") | {"containedIn": shards}


def _file_set(name: str, media: str, includes: str) -> dict[str, Any]:
    return {"@type": "cr:FileSet", "@id": name, "name": name, "encodingFormat": media, "includes": includes}


def _record_sets(ending: str, schema: pa.Schema, images: Sequence[str]) -> list[dict[str, Any]]:
    if ending not in _RECORDS:
        return []
    fields = []
    for column in schema:
        picture = column.name in images
        fields.append(
            {
                "@type": "cr:Field",
                "@id": f"pairs/{column.name}",
                "name": column.name,
                "dataType": "sc:ImageObject" if picture else _type(column.type),
                "source": _source(ending, column),
            }
        )
    return [{"@type": "cr:RecordSet", "@id": "pairs", "name": "pairs", "field": fields}]


def _source(ending: str, column: pa.Field) -> dict[str, Any]:
    inner = {"transform": {"jsonPath": "bytes"}} if pa.types.is_struct(column.type) else {}
    return _RECORDS[ending] | {"extract": {"column": column.name}} | inner


def _type(kind: pa.DataType) -> str:
    return "sc:DateTime" if pa.types.is_timestamp(kind) else _TYPES[str(kind)]


def _ending(file: File) -> str:
    return file.path.rpartition(".")[2]
