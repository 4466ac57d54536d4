//! `use = "ticket"`: every request names the ticket that it is for, and the ledger keeps it.

use std::sync::Arc;

use ai_gateway::plugins::{Context, Failure, Kind, Needs, Plugin, Request, Settings, Verdict, async_trait};

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ticket {
    /// What the number of a ticket begins with, such as `OPS-`.
    prefix: String,
    /// The header that it stands in.
    header: String,
}

/// What `[[plugins]] use = "ticket"` means.
pub const TICKET: Kind = Kind::new("ticket", |settings: &Settings<'_>| Ok(Arc::new(settings.read::<Ticket>()?)));

#[async_trait]
impl Plugin for Ticket {
    fn needs(&self) -> Needs {
        Needs::new().head()
    }

    async fn on_request(&self, request: &mut Request, cx: &Context) -> Result<Verdict, Failure> {
        let ticket = request.headers.get(&self.header).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let number = ticket.strip_prefix(&self.prefix).unwrap_or_default();
        if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit()) {
            let message = format!("say in the header `{}` which ticket this is for: {}123", self.header, self.prefix);
            return Ok(Verdict::reject(400, message));
        }
        cx.tag("number", ticket);
        Ok(Verdict::Pass)
    }
}
