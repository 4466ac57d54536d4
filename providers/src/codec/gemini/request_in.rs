//! A client's request.

use std::collections::VecDeque;

use super::super::Call;
use super::super::wire::read_request;
use super::extras::{nest, remember};
use super::part_in::{Ids, Origin, block, camel};
use super::schema::to_json_schema;
use super::settings_in;
use super::wire::{Body, Content, Fields, FunctionDeclaration, OneOrMany};
use crate::common::{Extras, FunctionTool, Json, Message, Request, Role, Str, Tool};
use crate::dialect::Dialect;
use crate::error::{ApiError, ErrorKind};

const OWN: Dialect = Dialect::Gemini;

/// Reads a body.
pub(super) fn decode<'a>(body: &'a [u8], call: &Call<'_>) -> Result<Request<'a>, ApiError> {
    let Body {
        contents: OneOrMany(contents),
        system,
        tools,
        tool_config,
        generation,
        cached_content,
        labels,
        service_tier,
        store,
        rest,
    } = read_request(body)?;
    let mut request = Request::new(OWN);
    request.model = call.model.unwrap_or_default().to_owned().into();
    request.stream = call.stream;
    request.store = store;
    request.metadata = labels;
    request.cache.content = cached_content;
    let mut extras = rest;
    if let Some(tier) = service_tier {
        request.service_tier = Some(settings_in::tier(tier, &mut extras));
    }
    let mut calls = Calls::default();
    if let Some(Content { role, parts: OneOrMany(parts), rest }) = system {
        if let Some(role) = role {
            remember(&mut extras, "=systemInstruction.role", Json::of(&role));
        }
        nest(&mut extras, "systemInstruction.", rest);
        request.system = parts.into_iter().map(|part| block(part, Origin::Client, &mut calls)).collect();
    }
    request.messages = contents.into_iter().map(|content| message(content, &mut calls)).collect();
    if let Some(tools) = tools {
        read_tools(tools, &mut request.tools)?;
    }
    if let Some(config) = tool_config {
        request.tool_choice = settings_in::tool_choice(config, &mut extras);
    }
    settings_in::generation(generation, &mut request, &mut extras);
    request.extras = extras;
    Ok(request)
}

fn message<'a>(content: Content<'a>, calls: &mut Calls<'a>) -> Message<'a> {
    let Content { role, parts: OneOrMany(parts), rest } = content;
    let mut extras = rest;
    let said = match role.as_deref() {
        Some("model") => Role::Assistant,
        Some("user") => Role::User,
        // Absent, or `function`, as results were sent in the early days.
        _ => {
            remember(&mut extras, "=role", Json::of(&role));
            Role::User
        }
    };
    calls.turn(said);
    let blocks = parts.into_iter().map(|part| block(part, Origin::Client, calls)).collect();
    Message { role: said, blocks, extras, ..Message::default() }
}

/// Ties results to calls where the client left out the ids: by name, in the order of the calls.
#[derive(Default)]
struct Calls<'a> {
    made: usize,
    open: VecDeque<(Str<'a>, Str<'a>)>,
    last: Role,
}

impl Calls<'_> {
    /// Results stand directly behind their calls: a new turn of the model starts anew.
    fn turn(&mut self, role: Role) {
        if role == Role::Assistant && self.last != Role::Assistant {
            self.open.clear();
        }
        self.last = role;
    }

    fn make<'b>(&mut self) -> Str<'b> {
        self.made += 1;
        format!("call_{}", self.made - 1).into()
    }
}

impl<'a> Ids<'a> for Calls<'a> {
    fn of_call(&mut self, id: Option<Str<'a>>, name: &Str<'a>) -> Str<'a> {
        let id = id.unwrap_or_else(|| self.make());
        self.open.push_back((name.clone(), id.clone()));
        id
    }

    fn of_result(&mut self, id: Option<Str<'a>>, name: &Str<'a>) -> Str<'a> {
        let at = match &id {
            Some(id) => self.open.iter().position(|(_, open)| open == id),
            None => self.open.iter().position(|(open, _)| open == name),
        };
        let open = at.and_then(|at| self.open.remove(at)).map(|(_, id)| id);
        id.or(open).unwrap_or_else(|| self.make())
    }
}

/// Reads `tools`. Each object may declare functions and name tools of Google's.
fn read_tools<'a>(tools: Json<'a>, into: &mut Vec<Tool<'a>>) -> Result<(), ApiError> {
    let list = if tools.is_object() { Some(vec![tools]) } else { tools.read_in_body() };
    for tool in list.ok_or_else(wrong)? {
        let Fields(fields) = tool.read_in_body().ok_or_else(wrong)?;
        let (functions, others): (Extras<'a>, Extras<'a>) = fields
            .into_iter()
            .partition(|(name, _)| matches!(&**name, "functionDeclarations" | "function_declarations"));
        let alone = functions.is_empty();
        for (_, functions) in functions {
            let OneOrMany(functions) = functions.read_in_body().ok_or_else(wrong)?;
            into.extend(functions.into_iter().map(|function| Tool::Function(Box::new(function_tool(function)))));
        }
        if let Some((name, _)) = others.first() {
            let kind = camel(name).into();
            let raw = if alone { tool } else { Json::of(&Fields(others)) };
            into.push(Tool::Foreign { dialect: OWN, kind, raw });
        }
    }
    Ok(())
}

fn wrong() -> ApiError {
    ApiError::new(ErrorKind::InvalidRequest, "tools must be a list of tools").with_param("tools")
}

fn function_tool<'a>(function: FunctionDeclaration<'a>) -> FunctionTool<'a> {
    let FunctionDeclaration { name, description, parameters, json_schema, rest } = function;
    let mut extras = rest;
    let parameters = match (json_schema, parameters) {
        (Some(schema), _) => Some(schema),
        (None, Some(openapi)) => {
            let schema = to_json_schema(&openapi);
            remember(&mut extras, "=parameters", openapi);
            Some(schema)
        }
        (None, None) => None,
    };
    FunctionTool { name, description, parameters, extras, ..FunctionTool::default() }
}
