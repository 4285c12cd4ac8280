"""Pages that a person looks at: self-contained HTML."""
