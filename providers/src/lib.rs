//! Wire formats and upstream accounts of generative-AI providers.
