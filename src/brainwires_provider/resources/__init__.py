"""Operations of a provider other than chat: models, embeddings, stored responses, Ollama, local engines."""
