//! `cargo run -p example-embedded`, then `curl http://127.0.0.1:8090/hello` and
//! `curl http://127.0.0.1:8090/ai/v1/chat/completions -d '{"model": "mock/echo", "messages": [{"role": "user", "content": "hi"}]}'`.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    example_embedded::server("127.0.0.1:8090", "[providers.mock]\nkind = \"mock\"")?.run_forever()
}
