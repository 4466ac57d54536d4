//! The plugin interface of ai-gateway.
