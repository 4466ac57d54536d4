//! Benchmarks of ai-gateway.
