"""From a query to ranked hits: query, retriever, rerank, calibration, presets."""
