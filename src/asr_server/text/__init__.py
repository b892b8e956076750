"""Characters to characters: detokenisation, punctuation, inverse text normalization."""
