"""HTTP only: routes by resource, schemas, problem documents, codecs for bitmaps."""
