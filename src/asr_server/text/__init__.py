"""Turn tokens into text: detokenisation, punctuation, inverse text normalization."""
