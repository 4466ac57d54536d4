//! The gateway with the plugin: `cargo run -p example-plugin`, or with a configuration file as its argument.

use ai_gateway::Gateway;
use example_plugin::TICKET;

const CONFIG: &str = r#"
    [providers.mock]
    kind = "mock"

    [[plugins]]
    use = "ticket"
    prefix = "OPS-"
    header = "x-ticket"
"#;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let builder = match std::env::args().nth(1) {
        Some(file) => Gateway::builder().config_file(file),
        None => Gateway::builder().config_text(CONFIG),
    };
    builder.plugin_kind(TICKET).run()?;
    Ok(())
}
