//! A plugin is tested like any other type: no gateway, no network.

use std::sync::Arc;

use ai_gateway::plugins::providers::{Dialect, Operation};
use ai_gateway::plugins::{About, Context, NoHost, Request, Settings, Verdict};
use example_plugin::TICKET;
use futures::executor::block_on;

#[test]
fn a_request_without_a_ticket_is_rejected() {
    let plugin = TICKET.build(&Settings::of("prefix = 'OPS-'\nheader = 'x-ticket'")).unwrap();
    let cx = Context::alone(About::new(Dialect::Anthropic, Operation::Chat, Arc::new(NoHost)));
    let mut request = Request::new(Dialect::Anthropic, Operation::Chat, Default::default(), "{}".into());

    assert!(matches!(block_on(plugin.on_request(&mut request, &cx)), Ok(Verdict::Reject(_))));

    request.headers.insert("x-ticket", "OPS-42".parse().unwrap());
    assert_eq!(block_on(plugin.on_request(&mut request, &cx)), Ok(Verdict::Pass));
    assert_eq!(cx.tags()[0].value, "OPS-42");
}

#[test]
fn its_settings_are_checked() {
    assert!(TICKET.build(&Settings::of("prefix = 'OPS-'")).is_err());
    assert!(TICKET.build(&Settings::of("prefix = 'OPS-'\nheader = 'x-ticket'\nheaders = 1")).is_err());
}
