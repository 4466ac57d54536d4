//! End-to-end tests of ai-gateway.
