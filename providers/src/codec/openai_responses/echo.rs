//! What an answer repeats of its request: <https://platform.openai.com/docs/api-reference/responses/object>.

use serde::ser::{Serialize, SerializeMap as _, Serializer};

use super::fields::{Writer, find, has};
use super::tools_out;
use crate::common::{Block, Content, Json, Losses, Request};

pub(super) fn of(request: &Request<'_>) -> Json<'static> {
    Json::of(&Echo(request))
}

/// The fields that an answer has even if the request is not known: the SDKs' types demand them.
pub(super) const DEFAULT: &str = r#"{"parallel_tool_calls":true,"tool_choice":"auto","tools":[]}"#;

struct Echo<'b>(&'b Request<'b>);

/// What only requests say.
const NOT_REPEATED: [&str; 6] =
    ["include", "stream_options", "conversation", "context_management", "service_tier", "stream"];

impl Serialize for Echo<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let request = self.0;
        // Losses are noted where the request is written.
        let mut losses = Losses::default();
        let mut echo = Writer(serializer.serialize_map(None)?);
        echo.put("instructions", &instructions(&request.system))?;
        echo.put("max_output_tokens", &request.max_tokens)?;
        match &request.metadata {
            Some(metadata) => echo.put("metadata", metadata)?,
            None => echo.put("metadata", &serde_json::Map::new())?,
        }
        echo.put("parallel_tool_calls", &request.parallel_tool_calls.unwrap_or(true))?;
        echo.put("previous_response_id", &request.previous)?;
        echo.put("reasoning", &Reasoning(request))?;
        echo.opt("store", request.store)?;
        echo.put("temperature", &request.temperature)?;
        echo.put("text", &Text(request))?;
        match tools_out::choice(request, &mut losses) {
            Some(choice) => echo.put("tool_choice", &choice)?,
            None => echo.put("tool_choice", "auto")?,
        }
        match tools_out::tools(request, &mut losses) {
            Some(tools) => echo.put("tools", &tools)?,
            None => echo.put("tools", &[(); 0])?,
        }
        echo.put("top_p", &request.top_p)?;
        echo.opt("top_logprobs", request.top_logprobs)?;
        let user = if has(&request.extras, "=safety_identifier") { "safety_identifier" } else { "user" };
        echo.opt(user, request.user.as_ref())?;
        echo.opt("prompt_cache_key", request.cache.key.as_ref())?;
        echo.opt("prompt_cache_retention", request.cache.retention.as_ref())?;
        if find(&request.extras, "truncation").is_none() {
            echo.put("truncation", "disabled")?;
        }
        let said = |name: &str| !name.starts_with('=') && !name.contains('.') && !NOT_REPEATED.contains(&name);
        for (name, value) in request.extras.iter().filter(|(name, _)| said(name)) {
            echo.0.serialize_entry(name, value)?;
        }
        echo.0.end()
    }
}

fn instructions<'b>(system: &'b [Block<'b>]) -> Option<&'b str> {
    system.iter().find_map(|block| match &block.content {
        Content::Text(text) => Some(&*text.text),
        _ => None,
    })
}

struct Reasoning<'b>(&'b Request<'b>);

impl Serialize for Reasoning<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let config = self.0.reasoning.as_ref();
        let mut reasoning = Writer(serializer.serialize_map(None)?);
        reasoning.put("effort", &config.and_then(|config| config.effort).map(crate::common::Effort::as_str))?;
        reasoning.put("summary", &config.and_then(|config| config.summary.as_ref()))?;
        reasoning.0.end()
    }
}

struct Text<'b>(&'b Request<'b>);

impl Serialize for Text<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut text = Writer(serializer.serialize_map(None)?);
        match tools_out::format(self.0, false, &mut Losses::default()) {
            Some(format) => text.put("format", &format)?,
            None => text.put("format", &serde_json::json!({"type": "text"}))?,
        }
        text.opt("verbosity", self.0.verbosity.as_ref())?;
        text.0.end()
    }
}
