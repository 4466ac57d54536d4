//! What of a request decides whether its answer may be given to the next one that asks the same, and what its client says of
//! that itself.

use super::cursor::Cursor;
use crate::{Dialect, own};

/// What of a JSON body matters to giving its answer again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Repeatable {
    /// Whether a `temperature` other than zero is asked for. Without any the provider's own counts, and this is false.
    pub temperature: bool,
    /// The tools that are offered.
    pub tools: Tools,
    /// The field by which the answer depends on what a provider keeps, or leaves something there; or by which it is looked up
    /// in the world of that moment.
    pub once: Option<&'static str>,
}

/// Tools that a request offers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tools {
    /// None.
    #[default]
    None,
    /// Functions that the client runs.
    Declared,
    /// Those that the provider brings: a search, a sandbox, a computer. What they find is of that moment.
    Hosted,
}

/// Fields that tie an answer to its moment or to what a provider keeps, unless they are `null`, `false` or empty.
const ONCE: [&str; 14] = [
    "previous_response_id",
    "thread",
    "conversation",
    "background",
    "web_search_options",
    "search_parameters",
    // Qwen's, with its options, and those of Groq's systems that search.
    "enable_search",
    "search_options",
    "search_settings",
    "plugins",
    "mcp_servers",
    "container",
    // An answer in sound has an id that its provider forgets.
    "audio",
    "connectors",
];

impl Repeatable {
    /// Reads a body that [`scan_json`](super::scan_json) has accepted.
    #[must_use]
    pub fn of(body: &[u8], dialect: Dialect) -> Self {
        if let Dialect::Own(own) = dialect {
            return own::repeatable(own, body);
        }
        let mut found = Self::default();
        let mut cursor = Cursor::new(body);
        if !cursor.enter(b'{') {
            return found;
        }
        // OpenAI's Responses are kept by the provider unless it is told not to.
        let mut stored = dialect == Dialect::OpenAiResponses;
        while let Some(key) = cursor.next_key() {
            match &*key.name {
                b"temperature" => found.temperature |= !is_nought(&mut cursor),
                b"generationConfig" | b"generation_config" | b"inferenceConfig" => found.settings(&mut cursor),
                b"tools" => found.tools(&mut cursor),
                b"functions" if cursor.has_elements() => {
                    found.tools = found.tools.max(Tools::Declared);
                    cursor.value();
                }
                b"toolConfig" if dialect == Dialect::Bedrock => found.tool_config(&mut cursor),
                b"store" => {
                    let span = cursor.value();
                    let value = cursor.slice(span);
                    stored = value == b"true" || (stored && value != b"false");
                }
                // A prompt that the provider keeps, and its owner may change.
                b"prompt" if dialect == Dialect::OpenAiResponses => {
                    if says_something(&mut cursor) {
                        found.once.get_or_insert("prompt");
                    }
                }
                name => {
                    let once = ONCE.into_iter().find(|once| once.as_bytes() == name);
                    match once {
                        Some(once) if says_something(&mut cursor) => drop(found.once.get_or_insert(once)),
                        Some(_) => {}
                        None => drop(cursor.value()),
                    }
                }
            }
        }
        if stored {
            found.once.get_or_insert("store");
        }
        found
    }

    fn settings(&mut self, cursor: &mut Cursor<'_>) {
        cursor.members(|name, cursor| match name {
            b"temperature" => self.temperature |= !is_nought(cursor),
            _ => drop(cursor.value()),
        });
    }

    fn tool_config(&mut self, cursor: &mut Cursor<'_>) {
        cursor.members(|name, cursor| match name {
            b"tools" => self.tools(cursor),
            _ => drop(cursor.value()),
        });
    }

    fn tools(&mut self, cursor: &mut Cursor<'_>) {
        if !cursor.enter(b'[') {
            cursor.value();
            return;
        }
        while cursor.next_element() {
            let tool = tool(cursor);
            self.tools = self.tools.max(tool);
        }
    }
}

/// One tool in any dialect: a function has no `type`, or one that says so, and no member that only a provider's own tools
/// have.
fn tool(cursor: &mut Cursor<'_>) -> Tools {
    let mut found = Tools::Declared;
    let is_object = cursor.members(|name, cursor| match name {
        b"type" => {
            let kind = cursor.text();
            if !matches!(kind.as_deref(), Some(b"function" | b"custom")) {
                found = Tools::Hosted;
            }
        }
        b"function"
        | b"custom"
        | b"name"
        | b"description"
        | b"parameters"
        | b"input_schema"
        | b"strict"
        | b"format"
        | b"cache_control"
        | b"parameter_definitions"
        | b"functionDeclarations"
        | b"function_declarations"
        | b"toolSpec"
        | b"cachePoint"
        | b"eager_input_streaming"
        | b"input_examples"
        | b"defer_loading"
        | b"allowed_callers" => drop(cursor.value()),
        _ => {
            cursor.value();
            found = Tools::Hosted;
        }
    });
    if is_object { found } else { Tools::Hosted }
}

/// Whether the number that comes next is zero; `null` counts as none.
fn is_nought(cursor: &mut Cursor<'_>) -> bool {
    let span = cursor.value();
    let value = cursor.slice(span);
    value == b"null" || std::str::from_utf8(value).ok().and_then(|text| text.parse::<f64>().ok()) == Some(0.0)
}

/// Whether the value that comes next is neither `null`, `false`, nor empty.
fn says_something(cursor: &mut Cursor<'_>) -> bool {
    let span = cursor.value();
    let value = cursor.slice(span);
    let inner = value.get(1..value.len().saturating_sub(1)).unwrap_or_default();
    let empty = matches!(value.first(), Some(b'"' | b'[' | b'{')) && inner.trim_ascii().is_empty();
    !(empty || value == b"null" || value == b"false")
}

/// What a client says in the body's field `cache`, in LiteLLM's words. Times are in seconds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CacheField {
    /// `no-cache`: its answer is to be a new one.
    pub no_cache: bool,
    /// `no-store`: its answer is not to be kept.
    pub no_store: bool,
    /// `ttl`: how long its answer may be used again.
    pub ttl: Option<u64>,
    /// `s-maxage`: the most age that an answer may have.
    pub max_age: Option<u64>,
    /// `namespace`: only answers to requests that say the same name are for it, and its own only for those.
    pub namespace: Option<String>,
    /// `semantic: false`: no answer to another question, however near.
    pub no_semantic: bool,
}

/// The members that it may have.
const MEMBERS: [&str; 7] = ["no-cache", "no-store", "semantic", "ttl", "s-maxage", "namespace", "use-cache"];
/// Bytes of the longest namespace.
const MAX_NAMESPACE: usize = 256;

/// The field `cache` of a body that [`scan_json`](super::scan_json) has accepted; `None` if there is none, or if it has a
/// member that is none of these: then it is the provider's business, and not to be taken out.
///
/// # Errors
/// The value of this member is none that it can have.
pub fn cache_field(body: &[u8]) -> Result<Option<CacheField>, &'static str> {
    let mut cursor = Cursor::new(body);
    cursor.enter(b'{');
    let mut found = None;
    while let Some(key) = cursor.next_key() {
        match &*key.name {
            b"cache" if found.is_none() => match field(&mut cursor) {
                Some(field) => found = Some(field),
                None => return Ok(None),
            },
            // There twice: readers differ in which of them they take.
            b"cache" => return Ok(None),
            _ => drop(cursor.value()),
        }
    }
    found.transpose()
}

/// `None`: it is the provider's.
fn field(cursor: &mut Cursor<'_>) -> Option<Result<CacheField, &'static str>> {
    if !cursor.enter(b'{') {
        return None;
    }
    let (mut found, mut wrong) = (CacheField::default(), None);
    while let Some(key) = cursor.next_key() {
        let member = MEMBERS.into_iter().find(|member| member.as_bytes() == &*key.name)?;
        if found.take(member, cursor).is_none() {
            wrong = wrong.or(Some(member));
        }
    }
    Some(wrong.map_or(Ok(found), Err))
}

impl CacheField {
    /// Takes in the value of a member; `None`: it can have no such value.
    fn take(&mut self, member: &str, cursor: &mut Cursor<'_>) -> Option<()> {
        if member == "namespace" && cursor.peek() == Some(b'"') {
            let name = String::from_utf8(cursor.text()?.into_owned()).ok()?;
            self.namespace = Some(name).filter(|name| name.len() <= MAX_NAMESPACE);
            return self.namespace.as_ref().map(|_| ());
        }
        let span = cursor.value();
        let value = std::str::from_utf8(cursor.slice(span)).ok()?;
        match member {
            _ if value == "null" => {}
            "no-cache" => self.no_cache = value.parse().ok()?,
            "no-store" => self.no_store = value.parse().ok()?,
            "semantic" => self.no_semantic = !value.parse::<bool>().ok()?,
            "ttl" => self.ttl = Some(value.parse().ok()?),
            "s-maxage" => self.max_age = Some(value.parse().ok()?),
            // Whether answers are kept at all is not the client's to say, but that it wants none.
            "use-cache" => {
                let wanted: bool = value.parse().ok()?;
                self.no_cache |= !wanted;
                self.no_store |= !wanted;
            }
            _ => return None,
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(body: &str, dialect: Dialect) -> Repeatable {
        super::super::scan_json(body.as_bytes()).unwrap();
        Repeatable::of(body.as_bytes(), dialect)
    }

    #[test]
    fn semantic_is_switched_off() {
        let of = |body: &str| cache_field(body.as_bytes()).map(|field| field.unwrap().no_semantic);
        assert_eq!(of(r#"{"cache":{"semantic":false}}"#), Ok(true));
        assert_eq!(of(r#"{"cache":{"semantic":true}}"#), Ok(false));
        assert_eq!(of(r#"{"cache":{"semantic":"no"}}"#), Err("semantic"));
    }

    #[test]
    fn temperatures() {
        for (body, above) in [
            (r#"{"model":"m"}"#, false),
            (r#"{"temperature":null}"#, false),
            (r#"{"temperature":0}"#, false),
            (r#"{"temperature":0.0e3}"#, false),
            (r#"{"temperature":0.1}"#, true),
            (r#"{"temperature":"0"}"#, true),
            (r#"{"generationConfig":{"topK":1,"temperature":1}}"#, true),
            (r#"{"generation_config":{"temperature":0}}"#, false),
            (r#"{"inferenceConfig":{"temperature":0.5}}"#, true),
            (r#"{"messages":[{"temperature":1}]}"#, false),
        ] {
            assert_eq!(of(body, Dialect::OpenAiChat).temperature, above, "{body}");
        }
    }

    #[test]
    fn tools() {
        for (body, dialect, tools) in [
            (r#"{"tools":[]}"#, Dialect::OpenAiChat, Tools::None),
            (r#"{"tools":null}"#, Dialect::OpenAiChat, Tools::None),
            (r#"{"tools":[{"type":"function","function":{"name":"f"}}]}"#, Dialect::OpenAiChat, Tools::Declared),
            (r#"{"functions":[{"name":"f"}]}"#, Dialect::OpenAiChat, Tools::Declared),
            (
                r#"{"tools":[{"type":"function","name":"f","parameters":{}}]}"#,
                Dialect::OpenAiResponses,
                Tools::Declared,
            ),
            (
                r#"{"tools":[{"type":"function","name":"f"},{"type":"web_search"}]}"#,
                Dialect::OpenAiResponses,
                Tools::Hosted,
            ),
            (r#"{"tools":[{"name":"f","input_schema":{}}]}"#, Dialect::Anthropic, Tools::Declared),
            (r#"{"tools":[{"type":"web_search_20250305","name":"web_search"}]}"#, Dialect::Anthropic, Tools::Hosted),
            (r#"{"tools":[{"functionDeclarations":[{"name":"f"}]}]}"#, Dialect::Gemini, Tools::Declared),
            (r#"{"tools":[{"googleSearch":{}}]}"#, Dialect::Gemini, Tools::Hosted),
            (r#"{"toolConfig":{"tools":[{"toolSpec":{"name":"f"}}]}}"#, Dialect::Bedrock, Tools::Declared),
            (r#"{"toolConfig":{"tools":[{"systemTool":{"name":"f"}}]}}"#, Dialect::Bedrock, Tools::Hosted),
            (r#"{"toolConfig":{"functionCallingConfig":{"mode":"ANY"}}}"#, Dialect::Gemini, Tools::None),
            (r#"{"tools":["web"]}"#, Dialect::OpenAiChat, Tools::Hosted),
        ] {
            assert_eq!(of(body, dialect).tools, tools, "{body}");
        }
    }

    #[test]
    fn what_is_of_its_moment() {
        let chat = Dialect::OpenAiChat;
        for (body, dialect, once) in [
            (r#"{"store":false}"#, chat, None),
            (r#"{"store":null}"#, chat, None),
            (r#"{"store":true}"#, chat, Some("store")),
            (r#"{"input":"x"}"#, Dialect::OpenAiResponses, Some("store")),
            (r#"{"store":null}"#, Dialect::OpenAiResponses, Some("store")),
            (r#"{"store":false,"input":"x"}"#, Dialect::OpenAiResponses, None),
            (r#"{"store":false,"previous_response_id":"r"}"#, Dialect::OpenAiResponses, Some("previous_response_id")),
            (r#"{"store":false,"previous_response_id":null}"#, Dialect::OpenAiResponses, None),
            (r#"{"store":false,"background":false}"#, Dialect::OpenAiResponses, None),
            (r#"{"store":false,"background":true}"#, Dialect::OpenAiResponses, Some("background")),
            (r#"{"store":false,"prompt":{"id":"p"}}"#, Dialect::OpenAiResponses, Some("prompt")),
            (r#"{"prompt":"Once upon"}"#, chat, None),
            (r#"{"plugins":[ ]}"#, chat, None),
            (r#"{"plugins":[{"id":"web"}]}"#, chat, Some("plugins")),
            (r#"{"web_search_options":{"a":1}}"#, chat, Some("web_search_options")),
            (r#"{"enable_search":true}"#, chat, Some("enable_search")),
            (r#"{"enable_search":false}"#, chat, None),
            (r#"{"search_settings":{"country":"de"}}"#, chat, Some("search_settings")),
            (r#"{"container":"c"}"#, Dialect::Anthropic, Some("container")),
            (r#"{"thread":{"type":"create"}}"#, Dialect::Anthropic, Some("thread")),
        ] {
            assert_eq!(of(body, dialect).once, once, "{body}");
        }
    }

    #[test]
    fn what_a_client_says_of_the_cache() {
        let field = |text: &str| cache_field(format!(r#"{{"a":1,"cache":{text}}}"#).as_bytes());
        let all = r#"{"no-cache":true,"no-store":false,"ttl":60,"s-maxage":5,"namespace":"t\u0031","use-cache":true}"#;
        let read = CacheField {
            no_cache: true,
            no_store: false,
            ttl: Some(60),
            max_age: Some(5),
            namespace: Some("t1".into()),
            no_semantic: false,
        };
        assert_eq!(field(all), Ok(Some(read)));
        assert_eq!(field(r#"{"ttl":null,"namespace":null}"#), Ok(Some(CacheField::default())));
        let off = field(r#"{"use-cache":false}"#).unwrap().unwrap();
        assert!(off.no_cache && off.no_store);
        for others in ["true", "null", "{\"type\":\"x\"}", "{\"ttl\":-1,\"type\":\"x\"}", "[]"] {
            assert_eq!(field(others), Ok(None), "{others}");
        }
        assert_eq!(cache_field(br#"{"cache":{},"cache":{}}"#), Ok(None));
        assert_eq!(cache_field(b"{}"), Ok(None));
    }

    #[test]
    fn what_a_client_cannot_say_of_the_cache() {
        let long = format!("{{\"namespace\":\"{}\"}}", "n".repeat(257));
        for (text, member) in [
            (r#"{"no-store":true,"ttl":1.5}"#, "ttl"),
            (r#"{"ttl":-1}"#, "ttl"),
            (r#"{"ttl":"1h","namespace":"n"}"#, "ttl"),
            (r#"{"s-maxage":[5],"ttl":{"no-store":true}}"#, "s-maxage"),
            (r#"{"no-cache":1}"#, "no-cache"),
            (r#"{"no-store":"true"}"#, "no-store"),
            (r#"{"use-cache":0}"#, "use-cache"),
            (r#"{"namespace":5,"no-cache":true}"#, "namespace"),
            (&long, "namespace"),
        ] {
            assert_eq!(cache_field(format!(r#"{{"cache":{text},"a":1}}"#).as_bytes()), Err(member), "{text}");
        }
    }
}
