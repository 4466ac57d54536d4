//! `[[routes]]`: rules that decide where a request goes when the client's name of a model should not. `when.rs` holds the
//! conditions, `then.rs` what is done; this file the two together, as written and as [`RouteConfig`].

mod then;
mod when;

use std::collections::{BTreeMap, HashSet};
use std::ops::Range;

use ai_gateway_providers::scan::FieldEdits;
use schemars::JsonSchema;
use serde::Deserialize;

pub use then::{HeaderEdits, MirrorConfig, RouteTo, SideConfig, SplitBy};
pub(super) use when::When;
pub use when::{Condition, Patterns};

use super::Context;
use super::models::ModelConfig;
use super::prices::PricesConfig;
use super::providers::ProviderConfig;
use super::targets;
use super::tree::{At, nearest};

/// `[[routes]]` as written; the first that matches wins. At most one of `model`, `targets`, `split` and `reject`; with none of
/// them the request goes to the model that the client named.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// A name for the access log and for `explain`; unique. Default: `"route-1"`, `"route-2"`, … by place in the file.
    pub name: Option<At<String>>,
    /// What must hold, all of it. Default: it always matches.
    pub when: Option<when::When>,
    /// The model that the request goes to: a name of `[models]`, or `provider/model`.
    pub model: Option<At<String>>,
    /// The targets that it goes to, as in `[models]`; every other setting is at its default.
    pub targets: Option<At<Vec<At<targets::Target>>>>,
    /// Models, and how many percent of the requests go to each.
    pub split: Option<At<Vec<At<then::Side>>>>,
    /// What keeps to one side of a split. Default: `"user"`.
    pub by: Option<At<SplitBy>>,
    /// An error instead of an answer.
    pub reject: Option<At<then::Reject>>,
    /// Changes to the headers of the request to the provider.
    pub headers: Option<then::Headers>,
    /// Changes to the top-level fields of a JSON body, in the client's dialect.
    pub body: Option<At<then::Body>>,
    /// Another target that gets a share of the same requests; its answers are thrown away.
    pub mirror: Option<then::Mirror>,
}

/// A resolved rule.
#[derive(Debug, Clone, PartialEq)]
pub struct RouteConfig {
    /// For logs and `explain`; unique.
    pub name: String,
    /// All must hold. The cheap ones come first.
    pub when: Vec<Condition>,
    /// Where the request goes.
    pub to: RouteTo,
    /// Changes to the upstream request's headers.
    pub headers: HeaderEdits,
    /// Changes to the body's fields.
    pub body: FieldEdits,
    /// Who gets a copy.
    pub mirror: Option<MirrorConfig>,
}

/// What the rules of a file refer to.
struct Known<'a> {
    models: &'a BTreeMap<String, ModelConfig>,
    providers: &'a BTreeMap<String, Option<ProviderConfig>>,
    prices: &'a PricesConfig,
}

/// Resolves all rules, in order, each with its place among those of the file.
pub(super) fn resolve(
    routes: Vec<(usize, At<Route>)>,
    models: &BTreeMap<String, ModelConfig>,
    providers: &BTreeMap<String, Option<ProviderConfig>>,
    prices: &PricesConfig,
    cx: &mut Context<'_>,
) -> Vec<RouteConfig> {
    let known = Known { models, providers, prices };
    let mut names = HashSet::new();
    let mut always: Option<String> = None;
    let mut resolved = Vec::with_capacity(routes.len());
    for (index, At { value: route, span }) in routes {
        let name = route.name.as_ref().map_or_else(|| format!("route-{}", index + 1), |name| name.value.clone());
        let at = route.name.as_ref().map_or_else(|| span.clone(), |name| name.span.clone());
        if name.is_empty() || name.chars().any(char::is_control) {
            cx.report.error(
                at,
                "this cannot be the name of a route",
                "it stands in logs: say in a word what it is for",
            );
        } else if !names.insert(name.clone()) {
            let message = format!("there is another route named `{name}`");
            cx.report.error(at, message, "names are unique: `explain` and logs go by them");
        }
        if let Some(earlier) = &always {
            let message = format!("no request reaches this route: `{earlier}` before it matches all of them");
            cx.report.warn(span.clone(), message, "the first route that matches wins: move the general one to the end");
        }
        if route.when.is_none() && always.is_none() {
            always = Some(name.clone());
        }
        resolved.push(route.resolve(name, &span, &known, cx));
    }
    resolved
}

impl Route {
    fn resolve(self, name: String, span: &Range<usize>, known: &Known<'_>, cx: &mut Context<'_>) -> RouteConfig {
        self.check_actions(span, cx);
        let when = self.when.map(|when| when.resolve(cx)).unwrap_or_default();
        let to = if let Some(model) = self.model {
            RouteTo::Model(then::known_model(model, known, cx))
        } else if let Some(targets) = self.targets {
            RouteTo::Targets(Box::new(then::model_of(&name, targets, known, cx)))
        } else if let Some(split) = self.split {
            let by = self.by.map_or(SplitBy::User, |by| by.value);
            RouteTo::Split { by, sides: then::sides(split, known, cx) }
        } else if let Some(reject) = self.reject {
            reject.value.resolve(cx)
        } else {
            RouteTo::Asked
        };
        RouteConfig {
            when,
            to,
            headers: self.headers.map(|headers| headers.resolve(cx)).unwrap_or_default(),
            body: self.body.map(|body| then::field_edits(body, cx)).unwrap_or_default(),
            mirror: self.mirror.and_then(|mirror| mirror.resolve(&name, known, cx)),
            name,
        }
    }

    /// Reports what does not go together.
    fn check_actions(&self, span: &Range<usize>, cx: &mut Context<'_>) {
        let actions = [
            ("model", self.model.as_ref().map(|at| &at.span)),
            ("targets", self.targets.as_ref().map(|at| &at.span)),
            ("split", self.split.as_ref().map(|at| &at.span)),
            ("reject", self.reject.as_ref().map(|at| &at.span)),
        ];
        let mut written = actions.into_iter().filter_map(|(word, span)| Some((word, span?)));
        if let (Some((first, _)), Some((second, span))) = (written.next(), written.next()) {
            let message = format!("`{first}` and `{second}` both say where the request goes");
            cx.report.error(span.clone(), message, "keep one of them, or write two routes");
        }
        if let (Some(by), None) = (&self.by, &self.split) {
            cx.report.error(by.span.clone(), "`by` belongs to a `split`", "add one, or remove it");
        }
        if self.reject.is_some() && (self.headers.is_some() || self.body.is_some() || self.mirror.is_some()) {
            let help = "remove `headers`, `body` and `mirror`, or `reject`";
            cx.report.error(span.clone(), "a request that is rejected goes nowhere", help);
        }
    }
}

/// The name of a model that exists.
pub(super) fn known_model(
    name: At<String>,
    models: &BTreeMap<String, ModelConfig>,
    providers: &BTreeMap<String, Option<ProviderConfig>>,
    cx: &mut Context<'_>,
) -> String {
    if let Err((message, help)) = check_model(&name.value, models, providers) {
        cx.report.error(name.span, message, help);
    }
    name.value
}

/// Whether there is a model of this name; else what to say of it, and what would be right.
pub(super) fn check_model(
    name: &str,
    models: &BTreeMap<String, ModelConfig>,
    providers: &BTreeMap<String, Option<ProviderConfig>>,
) -> Result<(), (String, String)> {
    let direct = name.split_once('/').filter(|(_, model)| !model.is_empty());
    if models.contains_key(name) || direct.is_some_and(|(of, _)| providers.contains_key(of)) {
        return Ok(());
    }
    let help = near_model(name, models, providers)
        .unwrap_or_else(|| "write the name of a [models] table, or `provider/model`".to_owned());
    Err((format!("there is no model `{name}`"), help))
}

/// Warns of expressions that compare the model with a name in its collection, which `request.model` never has.
pub(super) fn check_compared(providers: &BTreeMap<String, Option<ProviderConfig>>, cx: &mut Context<'_>) {
    for At { value: text, span } in std::mem::take(&mut cx.compared_models) {
        let known = providers.values().flatten();
        let spelt = known.filter_map(|provider| Some((&provider.name, collection_in(&text, provider)?))).next();
        if let Some((provider, collection)) = spelt {
            let message = format!(
                "`{text}` is not in `request.model`, where models of `{provider}/{collection}` are `{provider}/…`"
            );
            let help = format!("leave `{collection}` out, or use `model`, whose patterns mean both");
            cx.report.warn(span, message, help);
        }
    }
}

/// The collection of the provider's models of which `text`, the name of one or its beginning or end, speaks.
fn collection_in(text: &str, provider: &ProviderConfig) -> Option<&'static str> {
    let named = text.strip_prefix(&*provider.name).and_then(|text| text.strip_prefix('/'));
    let model = named.or_else(|| text.contains('/').then(|| text.trim_start_matches('/')))?;
    let is_meant = |collection: &&&str| {
        let parts = collection.trim_end_matches('/').split('/');
        model.trim_end_matches('/').split('/').zip(parts).all(|(part, of_collection)| part == of_collection)
    };
    provider.preset.collections().iter().find(is_meant).copied()
}

/// ``did you mean `x`?``, if there is a model, or one of a provider, that is written almost so.
pub(super) fn near_model(
    text: &str,
    models: &BTreeMap<String, ModelConfig>,
    providers: &BTreeMap<String, Option<ProviderConfig>>,
) -> Option<String> {
    let of_provider = || {
        let (provider, rest) = text.split_once('/')?;
        nearest(provider, providers.keys().map(String::as_str)).map(|provider| format!("{provider}/{rest}"))
    };
    let near = nearest(text, models.keys().map(String::as_str)).map(str::to_owned).or_else(of_provider)?;
    Some(format!("did you mean `{near}`?"))
}
