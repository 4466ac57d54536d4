//! Every fault × every client dialect × streamed or not × one target or three: what the client gets, in one table
//! (`docs/faults.md`), each cell in bounded time and honest.
//!
//! One gateway and one mock serve all cells at once, so that the clocks of the silent ones run side by side. Each cell has
//! models of its own: nothing that the gateway remembers of one cell's targets reaches another.

mod cuts;
mod document;
mod faults;

use ai_gateway_providers::Dialect;
use ai_gateway_tests::client::exchange;
use ai_gateway_tests::speak::{Heard, ask, hear};
use ai_gateway_tests::unreachable::{Hanging, Refusing};
use ai_gateway_tests::{Answer, Authority, Gateway, Mock, Stub, bodies, mock_provider};
use faults::{At, FAULTS, Fault, OPEN, Owed};
use futures::StreamExt as _;
use serde_json::Value;
use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

/// The clocks of each target that falls silent: far from each other and from what a busy machine takes.
const CLOCKS: &str = r#"{ connect = "1500ms", first_token = "2500ms", idle = "2500ms", total = "6s" }"#;
/// By when each cell has ended: two attempts that run into the longest clock, a good one, and a busy machine.
const DEADLINE: Duration = Duration::from_secs(25);

/// Cells under way at once: all that wait for a clock, and some others.
const AT_ONCE: usize = 250;

/// How many targets a model has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Targets {
    /// One that is faulty and speaks the client's dialect.
    Own,
    /// One that is faulty and speaks another.
    Other,
    /// Two that are faulty, of both kinds, and a good one of a third dialect.
    Three,
}

struct Cell {
    fault: &'static Fault,
    client: Dialect,
    stream: bool,
    targets: Targets,
    /// Unique: names its model, and what is asked.
    name: String,
}

/// What became of a cell.
struct Outcome {
    cell: Cell,
    heard: Heard,
    took: Duration,
    log: Value,
}

fn cells() -> Vec<Cell> {
    let mut cells = Vec::new();
    for fault in FAULTS {
        for client in Dialect::ALL {
            for stream in [false, true] {
                for targets in [Targets::Own, Targets::Other, Targets::Three] {
                    let name = format!("cell-{}", cells.len());
                    cells.push(Cell { fault, client, stream, targets, name });
                }
            }
        }
    }
    // Those that wait go first, so that their clocks run side by side.
    cells.sort_by_key(|cell| !cell.fault.at.waits());
    cells
}

/// The dialect that comes `steps` after this one.
fn after(dialect: Dialect, steps: usize) -> Dialect {
    let at = Dialect::ALL.iter().position(|other| *other == dialect).unwrap();
    Dialect::ALL[(at + steps) % Dialect::ALL.len()]
}

impl Cell {
    /// The TOML of its model, and of the accounts that are its own.
    fn config(&self, mock: &Mock) -> String {
        let mut accounts = String::new();
        let mut bad = |dialect: Dialect, priority: usize| {
            let (provider, model) = match self.fault.at {
                At::Mock(model) => (format!("mock-{dialect}"), model),
                At::Account(model) => {
                    let account = format!("{}-{priority}", self.name);
                    accounts.push_str(&mock.provider(&account, dialect));
                    (account, model)
                }
                At::Refusing => (format!("refusing-{dialect}"), "echo"),
                At::Hanging => (format!("hanging-{dialect}"), "echo"),
                At::Untrusted => (format!("untrusted-{dialect}"), "echo"),
            };
            let clocks = if self.fault.at.waits() { format!(", timeouts = {CLOCKS}") } else { String::new() };
            target_with(&provider, &format!("{model}+{}", self.name), priority, &clocks)
        };
        let targets = match self.targets {
            Targets::Own => vec![bad(self.client, 0)],
            Targets::Other => vec![bad(after(self.client, 1), 0)],
            Targets::Three => {
                let good = target(&format!("mock-{}", after(self.client, 2)), &format!("echo+{}", self.name), 2);
                vec![bad(self.client, 0), bad(after(self.client, 1), 1), good]
            }
        };
        format!("{accounts}[models.{}]\ntargets = [{}]\n", self.name, targets.join(", "))
    }

    /// What it asks, and what a good target answers.
    fn text(&self) -> String {
        format!("{} says one two three four five six seven eight nine ten", self.name)
    }

    async fn run(self, gateway: &Gateway) -> (Cell, Heard, Duration, String) {
        let request = ask(self.client, &self.name, &self.text(), self.stream).header("authorization", "Bearer sk-any");
        let begun = Instant::now();
        let reply = exchange(gateway.addr, &request).await;
        let took = begun.elapsed();
        let heard = hear(self.client, self.stream, &reply);
        (self, heard, took, reply.header("x-request-id").to_owned())
    }
}

fn target(provider: &str, model: &str, priority: usize) -> String {
    target_with(provider, model, priority, "")
}

fn target_with(provider: &str, model: &str, priority: usize, more: &str) -> String {
    format!("{{ provider = \"{provider}\", model = \"{model}\", priority = {priority}{more} }}")
}

/// `keys`: whose requests they are; without any, nobody's.
async fn outcomes(keys: &str) -> Vec<Outcome> {
    let mock = Mock::start().await;
    let (refusing, hanging) = (Refusing::new(), Hanging::new().await);
    let untrusted = Stub::tls(&Authority::new(), &["http/1.1"], |_| Answer::status(500)).await;
    let mut config = keys.to_owned();
    for dialect in Dialect::ALL {
        let providers = [
            mock.provider(&format!("mock-{dialect}"), dialect),
            mock_provider(&format!("refusing-{dialect}"), dialect, &format!("http://{}", refusing.addr)),
            mock_provider(&format!("hanging-{dialect}"), dialect, &format!("http://{}", hanging.addr)),
            mock_provider(&format!("untrusted-{dialect}"), dialect, &untrusted.origin()),
        ];
        config.extend(providers);
    }
    let cells = cells();
    config.extend(cells.iter().map(|cell| cell.config(&mock)));
    let mut gateway = Gateway::start(&config).await;
    let begun = Instant::now();
    let ran: Vec<_> =
        futures::stream::iter(cells).map(|cell| cell.run(&gateway)).buffer_unordered(AT_ONCE).collect().await;
    eprintln!("{} cells in {:?}", ran.len(), begun.elapsed());
    gateway.assert_healthy().await;
    assert_eq!(untrusted.count(), 0, "a request went to a server that nobody vouches for");
    let mut log: HashMap<String, Vec<Value>> = HashMap::new();
    for line in gateway.final_log().await {
        log.entry(line["id"].as_str().unwrap().to_owned()).or_default().push(line);
    }
    assert_eq!(log.len(), ran.len(), "lines of the access log");
    let with_log = ran.into_iter().map(|(cell, heard, took, id)| {
        let lines = log.remove(&id).unwrap_or_else(|| panic!("{}: no line for request {id:?}", cell.name));
        let [log] = <[Value; 1]>::try_from(lines).unwrap_or_else(|lines| panic!("logged twice: {lines:?}"));
        Outcome { cell, heard, took, log }
    });
    with_log.collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_fault_ends_as_the_table_says() {
    document::compare(&check_all("").await);
}

/// A provider that fails is not a client that leaves, of whom the answer is read on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn so_it_does_where_answers_are_read_without_their_client() {
    let hash = bodies::key_hash("sk-any");
    check_all(&format!("[[keys]]\nname = \"drains\"\nhash = \"{hash}\"\non_abort = \"drain\"\n")).await;
}

async fn check_all(keys: &str) -> Vec<Outcome> {
    let outcomes = outcomes(keys).await;
    let (mut wrong, mut open) = (Vec::new(), BTreeMap::<&str, usize>::new());
    for outcome in &outcomes {
        match (outcome.check(), OPEN.iter().find(|(name, _)| *name == outcome.cell.fault.name)) {
            (Err(_), Some((name, _))) => *open.entry(name).or_default() += 1,
            (Err(why), None) => wrong.push(why),
            (Ok(()), _) => {}
        }
    }
    let slowest = outcomes.iter().max_by_key(|outcome| outcome.took).unwrap();
    eprintln!("the slowest: {} {:?}", slowest.what(), slowest.took);
    assert!(wrong.is_empty(), "{} of {} cells are wrong:\n{}", wrong.len(), outcomes.len(), wrong.join("\n"));
    for (name, why) in OPEN {
        let cells = open.get(name).unwrap_or_else(|| panic!("{name:?} is right now: take it out of OPEN"));
        eprintln!("open: {name}, {cells} cells: {why}");
    }
    outcomes
}

impl Outcome {
    fn what(&self) -> String {
        let Cell { fault, client, stream, targets, name } = &self.cell;
        format!("{name} ({}, {client}, {}, {targets:?})", fault.name, if *stream { "stream" } else { "answer" })
    }

    /// What must hold whatever the table says.
    fn check(&self) -> Result<(), String> {
        let Cell { fault, client, stream, targets, .. } = &self.cell;
        let wrong = |why: String| Err(format!("{}: {why}: {:?} {}", self.what(), self.heard, self.log));
        if self.took > DEADLINE {
            return wrong(format!("took {:?}", self.took));
        }
        let (whole, honest) = match &self.heard {
            Heard::Answer(answer) => {
                let by_good = self.log["upstream_model"].as_str().is_some_and(|model| model.starts_with("echo"));
                let said = if by_good { self.cell.text() } else { LOREM_20.to_owned() };
                if answer.text != said {
                    return wrong(format!("said {:?} instead of {said:?}", answer.text));
                }
                if answer.tokens.is_none() {
                    return wrong("no usage".to_owned());
                }
                (true, true)
            }
            Heard::Refused(status, error) => (false, *status >= 400 && !error.message.is_empty()),
            Heard::Told(text, error) => (false, *stream && LOREM_20.starts_with(text) && !error.message.is_empty()),
            Heard::Broken(text) => (false, LOREM_20.starts_with(text)),
            Heard::Nonsense(_) => (false, false),
        };
        if !honest {
            return wrong("not honest".to_owned());
        }
        if whole != (self.log["finish"] == "complete") {
            return wrong("the log says otherwise".to_owned());
        }
        let rescued = *targets == Targets::Three;
        let due = match fault.owed {
            Owed::Answer => whole,
            Owed::Rescue | Owed::OtherModel => whole == rescued,
            Owed::RescueOrTold => whole == (rescued && !*stream),
            Owed::Refusal => matches!(self.heard, Heard::Refused(400..500, _)),
            Owed::Honesty => whole || *stream,
        };
        if !due {
            return wrong(format!("a client of {client} is owed {:?}", fault.owed));
        }
        let callers = matches!(fault.owed, Owed::Refusal | Owed::OtherModel);
        let blamed = if callers { "caller" } else { "upstream" };
        if !whole && self.log["fault"] != blamed {
            return wrong(format!("the fault is not of the {blamed}"));
        }
        Ok(())
    }
}

/// What `lorem-20` says.
const LOREM_20: &str = "lorem ipsum dolor sit amet consectetur adipiscing elit sed do eiusmod tempor incididunt ut labore et lorem ipsum dolor sit";
