//! The comparison that `make bench` prints: the gateway and the bare pass-through under the same load, in alternation.
//!
//! What is compared is CPU time of the process under test, which does not depend on how fast the load generator or the
//! upstream are. Rates and latencies are of the whole chain on this machine.

mod machine;
mod memory;
pub mod rounds;
mod table;

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

pub use machine::Machine;
pub use memory::MemoryUse;
pub use rounds::Rounds;
pub use table::render;

use crate::{Result, process::Process, wire::Request};

/// Bytes of every request body.
pub const BODY_SIZE: usize = 1024;
/// The client key that the gateway checks.
pub const KEY: &str = "sk-bench-0123456789abcdef";
const KEY_HASH: &str = "4544960adbf893386971435af98a39b6f3a29f78107fbe68a787ab2467ba27d9";

/// How long and how often everything is measured.
#[derive(Debug, Clone)]
pub struct Effort {
    /// Alternations of the load runs; the figure is their median.
    pub rounds: usize,
    /// Alternations of the memory runs, each with fresh processes.
    pub memory_rounds: usize,
    /// Length of one load run. Many short runs in alternation suffer equally from what else the machine does.
    pub length: Duration,
    /// Streams held open for the memory figure.
    pub held: usize,
    /// How long they are held before memory is read.
    pub hold: Duration,
}

impl Effort {
    /// Everything in under eight minutes.
    pub fn full() -> Self {
        Self {
            rounds: 30,
            memory_rounds: 3,
            length: Duration::from_millis(400),
            held: 1000,
            hold: Duration::from_secs(3),
        }
    }

    /// Everything in under a minute, with coarser figures.
    pub fn quick() -> Self {
        Self {
            rounds: 5,
            memory_rounds: 1,
            length: Duration::from_millis(300),
            held: 1000,
            hold: Duration::from_millis(1500),
        }
    }
}

/// What can be asked of the upstream, by the name that the mock chooses its behaviour by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ask {
    /// One whole answer that repeats the prompt.
    Chat,
    /// 100 chunks as fast as they can be written.
    Burst,
    /// 3 chunks at once, to time the first.
    Short,
    /// 100 chunks, one per 5 ms: each is its own read and write for a proxy.
    Paced,
    /// A stream that stays open, with a chunk per second.
    Held,
    /// [`Self::Chat`], asked in Anthropic's dialect of the gateway, which asks the upstream in OpenAI's.
    TranslatedChat,
    /// [`Self::Burst`], translated.
    TranslatedBurst,
    /// [`Self::Paced`], translated.
    TranslatedPaced,
    /// [`Self::Chat`], which the gateway has in its cache.
    CachedChat,
    /// [`Self::Burst`], which the gateway has in its cache.
    CachedBurst,
}

impl Ask {
    /// One of each model.
    const MODELS: [Self; 7] =
        [Self::Chat, Self::Burst, Self::Short, Self::Paced, Self::Held, Self::CachedChat, Self::CachedBurst];

    /// The model name that the upstream understands.
    pub fn upstream_model(self) -> &'static str {
        match self {
            Self::Chat | Self::TranslatedChat | Self::CachedChat => "echo",
            Self::Burst | Self::TranslatedBurst | Self::CachedBurst => "lorem-100",
            Self::Short => "lorem-3",
            Self::Paced | Self::TranslatedPaced => "lorem-100-every-5ms",
            Self::Held => "lorem-1000-every-1000ms",
        }
    }

    /// The gateway's public name of the same model: as long, so that all targets carry bodies of one size.
    fn public_model(self) -> String {
        let name = self.upstream_model();
        format!("{}{}", if self.cached() { "y" } else { "x" }, &name[1..])
    }

    fn cached(self) -> bool {
        matches!(self, Self::CachedChat | Self::CachedBurst)
    }

    fn translated(self) -> bool {
        matches!(self, Self::TranslatedChat | Self::TranslatedBurst | Self::TranslatedPaced)
    }
}

/// The three places a request can go to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Straight to the upstream.
    Direct,
    /// Through the bare Pingora pass-through.
    Bare,
    /// Through ai-gateway.
    Gateway,
}

/// One running target.
#[derive(Debug)]
pub struct Target {
    /// What it is.
    pub kind: Kind,
    process: Process,
}

impl Target {
    /// Its listener.
    pub fn address(&self) -> SocketAddr {
        self.process.address()
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// The request for `ask`, in this target's model names. Only the gateway can translate; the others are asked in the upstream's
    /// dialect for what it is compared with.
    pub fn request(&self, ask: Ask) -> Arc<Request> {
        let stream = !matches!(ask, Ask::Chat | Ask::TranslatedChat | Ask::CachedChat);
        let (address, key) = (self.address(), Some(KEY));
        Arc::new(match self.kind {
            Kind::Direct | Kind::Bare => Request::chat(address, key, ask.upstream_model(), BODY_SIZE, stream),
            Kind::Gateway if ask.translated() => {
                Request::messages(address, key, &ask.public_model(), BODY_SIZE, stream)
            }
            Kind::Gateway => Request::chat(address, key, &ask.public_model(), BODY_SIZE, stream),
        })
    }

    /// Explains `error` with what the process last said.
    pub fn explain(&self, error: &str) -> String {
        format!("{:?}: {error}\n{}", self.kind, self.process.last_words())
    }
}

/// How to start the targets.
#[derive(Debug, Clone)]
pub struct Launcher {
    /// Where `ai-gateway`, `bare` and `load` lie.
    pub binaries: PathBuf,
    /// Directory for the gateway's configuration and access log.
    pub scratch: PathBuf,
    /// Worker threads of both proxies, for the bare one (the gateway takes one per core).
    pub threads: usize,
    /// Use the stand-in of the load generator as the upstream, not `ai-gateway mock`.
    pub standin: bool,
    /// Another build of the gateway.
    pub other: PathBuf,
}

impl Launcher {
    /// Starts the upstream.
    pub fn upstream(&self) -> Result<Target> {
        let mut command = if self.standin {
            let mut command = self.command("load");
            command.args(["--standin", "127.0.0.1:0"]);
            command
        } else {
            let mut command = self.command("ai-gateway");
            command.args(["mock", "--listen", "127.0.0.1:0"]);
            command
        };
        let process = Process::start(command.stdout(Stdio::null()), "mock listening on ")?;
        Ok(Target { kind: Kind::Direct, process })
    }

    /// Starts the bare pass-through to `upstream`.
    pub fn bare(&self, upstream: SocketAddr) -> Result<Target> {
        let mut command = self.command("bare");
        command.args(["--upstream", &upstream.to_string(), "--threads", &self.threads.to_string()]);
        let process = Process::start(command.stdout(Stdio::null()), "listening on ")?;
        Ok(Target { kind: Kind::Bare, process })
    }

    /// Starts the gateway to `upstream`, as a user would: with a key, metrics, and the access log to a file.
    pub fn gateway(&self, upstream: SocketAddr) -> Result<Target> {
        self.gateway_with(upstream, "gateway", "")
    }

    /// The other build of the gateway, in the same way.
    pub fn other_gateway(&self, upstream: SocketAddr) -> Result<Target> {
        self.start_gateway(Command::new(&self.other), upstream, "other", "")
    }

    /// The same, with what accounts for requests: limits and budgets that are never reached, and a ledger.
    pub fn accounting_gateway(&self, upstream: SocketAddr) -> Result<Target> {
        let ledger = self.scratch.join("ledger.db");
        let accounts = format!(
            "limits = [{{ requests = \"100000000/min\", tokens = \"1000000000000/min\", concurrent = 100000 }}]\n\
             budget = {{ usd = 1000000, per = \"month\" }}\n\n\
             [limits]\nrequests = \"100000000/min\"\nbudget = {{ usd = 1000000, per = \"day\" }}\n\n\
             [ledger]\npath = {ledger:?}\n"
        );
        self.gateway_with(upstream, "accounting", &accounts)
    }

    /// The same, with a guardrail on streams: a regular expression that finds nothing.
    pub fn guarded_gateway(&self, upstream: SocketAddr) -> Result<Target> {
        let plugin = "\n[[plugins]]\nuse = \"deny\"\npatterns = ['\\bACME-\\d{6}\\b']\non = [\"answer\"]\n";
        self.gateway_with(upstream, "guarded", plugin)
    }

    /// `more` stands after the key's lines.
    fn gateway_with(&self, upstream: SocketAddr, name: &str, more: &str) -> Result<Target> {
        self.start_gateway(self.command("ai-gateway"), upstream, name, more)
    }

    fn start_gateway(&self, mut command: Command, upstream: SocketAddr, name: &str, more: &str) -> Result<Target> {
        let config = self.scratch.join(format!("{name}.toml"));
        std::fs::write(&config, gateway_config(upstream) + more)?;
        let access_log = std::fs::File::create(self.scratch.join(format!("{name}.log")))?;
        command.arg("run").arg("--config").arg(&config).env("AI_GATEWAY_BENCH_KEY", "sk-upstream").stdout(access_log);
        let process = Process::start(&mut command, "listening on ")?;
        Ok(Target { kind: Kind::Gateway, process })
    }

    fn command(&self, binary: &str) -> Command {
        Command::new(self.binaries.join(binary))
    }
}

/// One provider, one model per [`Ask`], one key.
fn gateway_config(upstream: SocketAddr) -> String {
    let models: String = Ask::MODELS
        .iter()
        .map(|ask| {
            let (public, model) = (ask.public_model(), ask.upstream_model());
            let cache = if ask.cached() { "cache = { ttl = \"1h\", temperature = true }\n" } else { "" };
            let price = "price = { input = \"1\", output = \"2\" }";
            format!(
                "[models.{public}]\ntargets = [{{ provider = \"upstream\", model = \"{model}\", {price} }}]\n{cache}\n"
            )
        })
        .collect();
    format!(
        "[server]\nlisten = [\"127.0.0.1:0\"]\nadmin = \"127.0.0.1:0\"\n\n\
         [providers.upstream]\nkind = \"openai-compatible\"\nbase_url = \"http://{upstream}/v1\"\n\
         api_key = \"env:AI_GATEWAY_BENCH_KEY\"\n\n{models}\
         [[keys]]\nname = \"bench\"\nhash = \"sha256:{KEY_HASH}\"\n"
    )
}

/// Builds the optimized gateway and pass-through next to the running binary with its own profile.
pub fn build(binaries: &Path) -> Result<()> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["build", "--release", "-p", "ai-gateway", "-p", "ai-gateway-benches", "--bins"]);
    if !command.status()?.success() {
        return Err("the build failed".into());
    }
    if !binaries.join("ai-gateway").exists() {
        return Err(format!("no ai-gateway in {}: run this with --release", binaries.display()).into());
    }
    Ok(())
}
