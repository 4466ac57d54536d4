//! One scenario for every client: a model with the scenario's targets for each, so that no client's outage is another's.

use ai_gateway_providers::Dialect;
use ai_gateway_tests::client::{Reply, exchange};
use ai_gateway_tests::speak::{Answer, Heard, ask, hear};
use ai_gateway_tests::{Gateway, Mock};
use serde_json::Value;
use std::time::{Duration, Instant};

/// What is asked, and what a target that is well answers: sixty words, each a chunk of a stream.
pub const PROMPT: &str = "A gateway earns trust only when the provider behind it misbehaves, since on a sunny day every \
    proxy looks alike and nobody asks who waited, who tried again, who told the truth and who paid for it; so break the \
    stream, revoke the key, stall the answer, lie about success, and see whether the one who asked ever had to know that \
    it was so";

/// Clocks of targets whose fault consists in silence.
const CLOCKS: &str = ", timeouts = { connect = \"2s\", first_token = \"1500ms\", idle = \"1500ms\", total = \"4s\" }";

/// Whose request it is.
#[derive(Debug, Clone)]
pub struct Case {
    /// What the client speaks.
    pub client: Dialect,
    /// Whether it wants a stream.
    pub stream: bool,
    /// Whether the first target speaks another dialect than the client, and the others the client's; else the other way.
    pub swapped: bool,
    /// Its model.
    pub name: String,
}

impl Case {
    /// What the target with this number speaks.
    pub fn dialect_of(&self, target: usize) -> Dialect {
        let at = Dialect::ALL.iter().position(|other| *other == self.client).unwrap();
        if (target == 0) == self.swapped { Dialect::ALL[(at + 1) % Dialect::ALL.len()] } else { self.client }
    }
}

/// A running gateway and what stands behind it.
pub struct Setup {
    /// The gateway.
    pub gateway: Gateway,
    mock: Mock,
    cases: Vec<Case>,
    targets: Vec<&'static str>,
}

/// What became of a request.
pub struct Ran {
    /// Whose it was.
    pub case: Case,
    /// What the client heard.
    pub heard: Heard,
    /// How long it took.
    pub took: Duration,
    /// The reply.
    pub reply: Reply,
    /// How often each target has been asked on behalf of this case.
    pub asked: Vec<u64>,
}

/// Starts a gateway. `targets` are models of the mock, each with settings after a comma, tried in this order; `settings` are
/// those of the models.
pub async fn setup(targets: &[&'static str], settings: &str) -> Setup {
    setup_with(targets, settings, |_, _| None).await
}

/// The same, with targets of which `dialect` tells what they speak, where it is not [`Case::dialect_of`].
pub async fn setup_with(
    targets: &[&'static str],
    settings: &str,
    dialect: impl Fn(&Case, usize) -> Option<Dialect>,
) -> Setup {
    setup_at("", targets, settings, dialect).await
}

/// The same, with more in the table of each provider.
pub async fn setup_at(
    provider: &str,
    targets: &[&'static str],
    settings: &str,
    dialect: impl Fn(&Case, usize) -> Option<Dialect>,
) -> Setup {
    let mock = Mock::start().await;
    let providers: String =
        Dialect::ALL.iter().map(|dialect| mock.provider(&format!("p-{dialect}"), *dialect) + provider).collect();
    let (mut cases, mut models) = (Vec::new(), String::new());
    for client in Dialect::ALL {
        for (stream, swapped) in [(false, false), (false, true), (true, false), (true, true)] {
            let case = Case { client, stream, swapped, name: format!("case-{}", cases.len()) };
            let each = targets.iter().enumerate().map(|(i, target)| {
                let (model, extra) = target.split_once(", ").unwrap_or((target, ""));
                let speaks = dialect(&case, i).unwrap_or_else(|| case.dialect_of(i));
                let name = format!("{model}+{}-{i}", case.name);
                let comma = if extra.is_empty() { "" } else { ", " };
                let silent = model.contains("stall") || model.contains("slow-first");
                let clocks = if silent { CLOCKS } else { "" };
                format!("{{ provider = \"p-{speaks}\", model = \"{name}\", priority = {i}{comma}{extra}{clocks} }}")
            });
            let each: Vec<String> = each.collect();
            models.push_str(&format!("[models.{}]\ntargets = [{}]\n{settings}\n", case.name, each.join(", ")));
            cases.push(case);
        }
    }
    let gateway = Gateway::start(&format!("{providers}{models}")).await;
    Setup { gateway, mock, cases, targets: targets.to_vec() }
}

impl Setup {
    /// Every client asks once, all at the same time.
    pub async fn ask_all(&self) -> Vec<Ran> {
        let mut ran = futures::future::join_all(self.cases.iter().map(|case| self.ask(case))).await;
        let stats = self.mock.stats().await;
        for one in &mut ran {
            one.asked = self.asked(&one.case, &stats);
        }
        ran
    }

    /// Whose requests there are.
    pub fn cases(&self) -> &[Case] {
        &self.cases
    }

    /// One client asks. How often targets were asked is left out.
    pub async fn ask(&self, case: &Case) -> Ran {
        let begun = Instant::now();
        let reply = exchange(self.gateway.addr, &ask(case.client, &case.name, PROMPT, case.stream)).await;
        let took = begun.elapsed();
        let heard = hear(case.client, case.stream, &reply);
        Ran { case: case.clone(), heard, took, reply, asked: Vec::new() }
    }

    /// How often the targets of a case have been asked.
    pub async fn asked_of(&self, case: &Case) -> Vec<u64> {
        self.asked(case, &self.mock.stats().await)
    }

    fn asked(&self, case: &Case, stats: &Value) -> Vec<u64> {
        let name = |i: usize| format!("{}+{}-{i}", self.targets[i].split(", ").next().unwrap(), case.name);
        (0..self.targets.len()).map(|i| stats["by_model"][name(i)]["requests"].as_u64().unwrap_or(0)).collect()
    }

    /// The name of a target upstream.
    pub fn upstream(&self, case: &Case, target: usize) -> String {
        format!("{}+{}-{target}", self.targets[target].split(", ").next().unwrap(), case.name)
    }
}

impl Ran {
    /// The answer; panics unless it is whole, and is the right one with its usage.
    pub fn answer(&self) -> &Answer {
        let Heard::Answer(answer) = &self.heard else { panic!("{self}: no answer: {:?}", self.heard) };
        assert_eq!(answer.text, PROMPT, "{self}");
        assert!(answer.tokens.is_some_and(|(input, output)| input > 0 && output > 0), "{self}: {:?}", answer.tokens);
        answer
    }

    /// Panics unless the client knows that it has no whole answer. An answer that is not streamed must not have begun.
    pub fn honest_error(&self) {
        match &self.heard {
            Heard::Refused(_, error) => assert!(!error.message.is_empty(), "{self}"),
            Heard::Told(text, error) if self.case.stream => {
                assert!(PROMPT.starts_with(text) && !error.message.is_empty(), "{self}: {text:?} {error:?}");
            }
            other => panic!("{self}: no honest error: {other:?}"),
        }
    }

    /// Whether the target with this number gave the answer.
    pub fn by(&self, target: usize) -> bool {
        self.reply.header("x-gateway-provider") == format!("p-{}", self.case.dialect_of(target))
    }
}

impl std::fmt::Display for Ran {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Case { client, stream, swapped, .. } = &self.case;
        let kind = if *stream { "stream" } else { "answer" };
        write!(f, "{client}, {kind}, swapped {swapped}, targets asked {:?}, {:?}", self.asked, self.took)
    }
}
