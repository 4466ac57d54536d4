//! CEL expressions as conditions: <https://github.com/google/cel-spec>.
//!
//! An expression sees one map, `request`:
//!
//! | | |
//! |---|---|
//! | `path`, `operation`, `dialect`, `model` | strings; `model` is empty if the client named none, else its [plain name](crate::snapshot::ModelName::as_str) |
//! | `headers` | map of lower-case names to values, without those that carry credentials |
//! | `key` | `name`, `team` (empty without one) and `tags`, a list |
//! | `stream`, `images`, `tools` | booleans |
//! | `prompt_tokens` | integer |
//! | `user`, `session` | strings, empty if unknown |
//! | `metadata` | map of names to strings; several values of one name are joined with commas |
//!
//! What an expression costs is bounded when it is compiled, since nothing can stop one that runs: it is short, no loop (`all`,
//! `exists`, `exists_one`, `filter`) stands in another, and nothing grows in one, so `map` and `+` are refused there. `matches`
//! is not there: it would compile patterns for each request, also such as a client chose.

use std::collections::HashMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, LazyLock};

use ::cel::common::ast::{ComprehensionExpr, EntryExpr, Expr, LiteralValue, operators};
use ::cel::objects::Key;
use ::cel::{Context, Env, ExecutionError, IdedExpr, Program, Value};
use ai_gateway_providers::{Dialect, Operation};
use http::HeaderMap;

use super::{Asked, Facts};
use crate::config::{CREDENTIALS, nearest};

/// The longest expression, in bytes.
const MAX_LEN: usize = 2048;
/// What `request` has.
const FIELDS: [&str; 13] = [
    "path",
    "operation",
    "dialect",
    "headers",
    "key",
    "model",
    "stream",
    "images",
    "tools",
    "prompt_tokens",
    "user",
    "session",
    "metadata",
];
/// What `request.key` has.
const KEY_FIELDS: [&str; 3] = ["name", "tags", "team"];
/// What may be called, beside operators: each costs no more than its arguments are long.
const FUNCTIONS: [&str; 8] = ["size", "contains", "startsWith", "endsWith", "string", "int", "double", "bool"];

static ENV: LazyLock<Arc<Env>> = LazyLock::new(|| Arc::new(Env::stdlib()));

/// A compiled expression. Equal ones have the same text.
#[derive(Clone)]
pub struct Expression {
    text: Arc<str>,
    program: Arc<Program>,
}

/// Why a text is no expression that may be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompileError {
    /// What is wrong.
    pub message: String,
    /// What would be right.
    pub help: Option<String>,
    /// Line in the text, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
}

/// An expression could not be evaluated on a request: a key that is not there, values that do not compare. It says no more,
/// since the reason would hold what the client sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failed;

impl Expression {
    /// Compiles `text` and checks that it asks only for what there is, at a bounded cost.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn compile(text: &str) -> Result<Self, CompileError> {
        let at = |offset: usize, message: String, help: Option<String>| {
            let before = text.get(..text.floor_char_boundary(offset)).unwrap_or_default();
            let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
            let column = before.get(line_start..).unwrap_or_default().chars().count() + 1;
            CompileError { message, help, line: before.matches('\n').count() + 1, column }
        };
        if text.len() > MAX_LEN {
            return Err(at(
                0,
                format!("it is longer than {MAX_LEN} bytes"),
                Some("split it into several routes".into()),
            ));
        }
        // The parser is generated code, and a configuration must not end the process that reloads it.
        let compiled = catch_unwind(|| ENV.compile(text));
        let program = match compiled {
            Ok(Ok(program)) => program,
            Ok(Err(errors)) => {
                let first = errors.errors.first();
                let number = |n: isize| usize::try_from(n).unwrap_or_default().max(1);
                let (line, column) = first.map_or((1, 1), |error| (number(error.pos.0), number(error.pos.1)));
                let message = first.map_or_else(String::new, |error| error.msg.clone());
                return Err(CompileError { message, help: None, line, column });
            }
            Err(_) => return Err(at(0, "it cannot be parsed".into(), None)),
        };
        let checked = Check::default().node(program.expression());
        if let Err(Wrong { id, message, help }) = checked {
            let offset = program.source_info().offset_for(id).map_or(0, |(start, _)| start as usize);
            return Err(at(offset, message, help));
        }
        let expression = Self { text: text.into(), program: Arc::new(program) };
        let headers = HeaderMap::new();
        match expression.evaluate(&Facts::new(nothing(&headers))) {
            Ok(Value::Bool(_)) => Ok(expression),
            Ok(_) => Err(at(0, "it is neither true nor false".into(), Some("compare it with something".into()))),
            Err(Some(ExecutionError::NoSuchOverload(error))) => Err(at(0, error.to_string(), None)),
            // What a real request has and this one has not.
            Err(_) => Ok(expression),
        }
    }

    /// Whether it is true of the request.
    ///
    /// # Errors
    /// It cannot be evaluated, or is neither true nor false.
    pub fn holds(&self, facts: &Facts<'_>) -> Result<bool, Failed> {
        match self.evaluate(facts) {
            Ok(Value::Bool(holds)) => Ok(holds),
            Ok(_) | Err(_) => Err(Failed),
        }
    }

    /// The texts in it, if it asks for the model: what that may be compared with.
    pub fn beside_model(&self) -> Vec<&str> {
        let mut check = Check::default();
        let sound = check.node(self.program.expression()).is_ok();
        if sound && check.asks_model { check.texts } else { Vec::new() }
    }

    fn evaluate(&self, facts: &Facts<'_>) -> Result<Value, Option<ExecutionError>> {
        let evaluate = || {
            let mut context = Context::with_env(ENV.clone());
            context.add_variable_from_value("request", facts.as_cel().clone());
            self.program.execute(&context)
        };
        // A defect of the interpreter is one more expression that failed.
        catch_unwind(AssertUnwindSafe(evaluate)).map_err(|_| None)?.map_err(Some)
    }
}

impl CompileError {
    /// The byte of `text` that it is about.
    pub fn offset(&self, text: &str) -> Option<usize> {
        let line = text.split_inclusive('\n').nth(self.line.checked_sub(1)?)?;
        let start = line.as_ptr().addr() - text.as_ptr().addr();
        let (within, _) = line.char_indices().nth(self.column.checked_sub(1)?)?;
        Some(start + within)
    }
}

impl PartialEq for Expression {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl fmt::Debug for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Expression").field(&self.text).finish()
    }
}

impl fmt::Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.text)
    }
}

/// Something of an expression that is refused.
struct Wrong {
    id: u64,
    message: String,
    help: Option<String>,
}

/// Walks an expression. Its depth is bounded by the parser.
#[derive(Default)]
struct Check<'e> {
    /// Variables of the loops around.
    bound: Vec<&'e str>,
    /// The loop whose body this is.
    step_of: Option<&'e ComprehensionExpr>,
    /// Its texts so far.
    texts: Vec<&'e str>,
    /// Whether it has asked for the model.
    asks_model: bool,
}

impl<'e> Check<'e> {
    fn node(&mut self, node: &'e IdedExpr) -> Result<(), Wrong> {
        let wrong = |message: String, help: Option<String>| Wrong { id: node.id, message, help };
        match &node.expr {
            Expr::Literal(literal) => {
                if let LiteralValue::String(text) = literal {
                    self.texts.push(text.inner());
                }
                Ok(())
            }
            Expr::Ident(name) if name == "request" || self.bound.contains(&name.as_str()) => Ok(()),
            Expr::Ident(name) => Err(wrong(
                format!("there is no `{name}`"),
                Some("an expression sees `request`, as in request.model".into()),
            )),
            Expr::Select(select) => {
                let known: &[&str] = match path_of(&select.operand.expr) {
                    Some([Some("request"), None]) => {
                        self.asks_model |= select.field == "model";
                        &FIELDS
                    }
                    Some([Some("request"), Some("key")]) => &KEY_FIELDS,
                    _ => return self.node(&select.operand),
                };
                if !known.contains(&select.field.as_str()) {
                    let near = nearest(&select.field, known.iter().copied());
                    let help = near.map_or_else(
                        || format!("there are: {}", known.join(", ")),
                        |near| format!("did you mean `{near}`?"),
                    );
                    return Err(wrong(format!("there is no field `{}`", select.field), Some(help)));
                }
                self.node(&select.operand)
            }
            Expr::Call(call) => {
                let name = call.func_name.as_str();
                let operator = name.starts_with(['_', '@', '!', '-']);
                if !operator && !FUNCTIONS.contains(&name) {
                    let help = format!("there are: {}, all, exists, exists_one, filter, has", FUNCTIONS.join(", "));
                    return Err(wrong(format!("there is no function `{name}`"), Some(help)));
                }
                if name == operators::ADD && self.step_of.is_some_and(|step| !is_own_step(step, &call.args)) {
                    return Err(wrong("nothing may grow in a loop: no `map` and no `+`".into(), None));
                }
                call.target.as_deref().into_iter().chain(&call.args).try_for_each(|node| self.node(node))
            }
            Expr::List(list) => list.elements.iter().try_for_each(|node| self.node(node)),
            Expr::Map(map) => map.entries.iter().try_for_each(|entry| match &entry.expr {
                EntryExpr::MapEntry(entry) => self.node(&entry.key).and_then(|()| self.node(&entry.value)),
                EntryExpr::StructField(field) => self.node(&field.value),
            }),
            Expr::Comprehension(_) if self.step_of.is_some() => {
                Err(wrong("a loop in a loop".into(), Some("write two conditions, or two routes".into())))
            }
            Expr::Comprehension(step) => {
                self.node(&step.iter_range)?;
                let outer = self.bound.len();
                self.bound.extend([step.iter_var.as_str(), step.accu_var.as_str()]);
                self.bound.extend(step.iter_var2.as_deref());
                self.step_of = Some(step);
                let parts = [&step.accu_init, &step.loop_cond, &step.loop_step, &step.result];
                let checked = parts.into_iter().try_for_each(|node| self.node(node));
                self.bound.truncate(outer);
                self.step_of = None;
                checked
            }
            Expr::Struct(_) | Expr::Unspecified => Err(wrong("this is not supported".into(), None)),
        }
    }
}

/// Whether `+` is the one that the macros `filter` and `exists_one` themselves are made of.
fn is_own_step(step: &ComprehensionExpr, args: &[IdedExpr]) -> bool {
    let [IdedExpr { expr: Expr::Ident(accu), .. }, added] = args else { return false };
    let added = match &added.expr {
        Expr::Literal(_) => true,
        Expr::List(list) => {
            matches!(list.elements.as_slice(), [IdedExpr { expr: Expr::Ident(name), .. }] if *name == step.iter_var)
        }
        _ => false,
    };
    *accu == step.accu_var && added
}

/// `a` and `a.b`, as far as it is one of the two.
fn path_of(expr: &Expr) -> Option<[Option<&str>; 2]> {
    match expr {
        Expr::Ident(name) => Some([Some(name), None]),
        Expr::Select(select) => match &select.operand.expr {
            Expr::Ident(name) => Some([Some(name), Some(&select.field)]),
            _ => None,
        },
        _ => None,
    }
}

/// A request of which nothing is known, to try an expression on.
fn nothing(headers: &HeaderMap) -> Asked<'_> {
    let (operation, dialect) = (Operation::Chat, Dialect::OpenAiChat);
    Asked { path: "", operation, dialect, headers, key: None, model: None, stream: false, json: b"" }
}

/// The map `request`.
pub(super) fn request(facts: &Facts<'_>) -> Value {
    let (asked, body) = (&facts.asked, facts.body());
    let mut headers: HashMap<String, String> = HashMap::new();
    for (name, value) in asked.headers {
        if let Ok(value) = value.to_str()
            && !CREDENTIALS.contains(&name.as_str())
        {
            join(&mut headers, name.as_str(), value);
        }
    }
    let mut metadata: HashMap<String, String> = HashMap::new();
    for (name, value) in &body.metadata {
        join(&mut metadata, name, value);
    }
    let key = [
        ("name", Value::from(asked.key.map_or("", |key| &key.name))),
        ("tags", asked.key.map_or(&[][..], |key| key.tags()).to_vec().into()),
        ("team", asked.key.and_then(|key| key.team()).unwrap_or_default().into()),
    ];
    let tokens = i64::try_from(body.prompt_tokens()).unwrap_or(i64::MAX);
    map([
        ("path", asked.path.into()),
        ("operation", asked.operation.as_str().into()),
        ("dialect", asked.dialect.as_str().into()),
        ("headers", headers.into()),
        ("key", map(key)),
        ("model", asked.model.map_or("", |model| model.as_str()).into()),
        ("stream", Value::Bool(asked.stream)),
        ("images", Value::Bool(body.images)),
        ("tools", Value::Bool(body.tools)),
        ("prompt_tokens", Value::Int(tokens)),
        ("user", body.user.as_deref().unwrap_or_default().into()),
        ("session", facts.session().unwrap_or_default().into()),
        ("metadata", metadata.into()),
    ])
}

fn map<const N: usize>(entries: [(&str, Value); N]) -> Value {
    HashMap::<Key, Value>::from(entries.map(|(name, value)| (name.into(), value))).into()
}

fn join(map: &mut HashMap<String, String>, name: &str, value: &str) {
    let joined = map.entry(name.to_owned()).or_default();
    if !joined.is_empty() {
        joined.push(',');
    }
    joined.push_str(value);
}

#[cfg(test)]
mod tests;
