//! Compares ai-gateway with a bare Pingora pass-through and prints a Markdown table: `make bench`.
//!
//! Fails on errors only, never on timing.

use std::{
    fs, io,
    net::SocketAddr,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    thread,
    time::Instant,
};

use ai_gateway_benches::{
    Error, Result,
    compare::{Effort, Launcher, Machine, MemoryUse, Rounds, Target, build, render, rounds},
};
use clap::Parser;

/// Compares ai-gateway with a bare Pingora pass-through.
#[derive(Debug, Parser)]
struct Arguments {
    /// Less than a minute in place of less than eight; coarser figures.
    #[arg(long)]
    quick: bool,
    /// Use the binaries that lie beside this one as they are.
    #[arg(long)]
    no_build: bool,
    /// Use the built-in stand-in as the upstream, not `ai-gateway mock`.
    #[arg(long)]
    standin: bool,
    /// Alternations of the load runs.
    #[arg(long)]
    rounds: Option<usize>,
    /// Compare bare Pingora with itself, to see what differences are noise.
    #[arg(long)]
    noise: bool,
    /// Compare ai-gateway without limits, budgets and a ledger with itself with them.
    #[arg(long, conflicts_with = "noise")]
    accounts: bool,
    /// Compare ai-gateway with itself with a regex guardrail on streams.
    #[arg(long, conflicts_with_all = ["noise", "accounts"])]
    guardrail: bool,
    /// Compare another build of the gateway, this file, with ai-gateway: what a change costs.
    #[arg(long, conflicts_with_all = ["noise", "accounts", "guardrail"])]
    against: Option<PathBuf>,
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let arguments = Arguments::parse();
    raise_file_limit()?;
    let program = std::env::current_exe()?;
    let binaries = program.parent().map(Path::to_path_buf).ok_or("no folder of binaries")?;
    if !arguments.no_build {
        build(&binaries)?;
    }
    let scratch = Scratch::create()?;
    let launcher = Launcher {
        binaries,
        scratch: scratch.0.clone(),
        threads: thread::available_parallelism()?.get(),
        standin: arguments.standin,
        other: arguments.against.clone().unwrap_or_default(),
    };
    let mut effort = if arguments.quick { Effort::quick() } else { Effort::full() };
    effort.rounds = arguments.rounds.unwrap_or(effort.rounds).max(1);
    if arguments.guardrail {
        // The first words of a slow stream are held back for seconds: only so many as are opened at once.
        effort.held = effort.held.min(64);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let sides = match () {
        () if arguments.noise => {
            Sides { names: ["bare Pingora", "bare Pingora again"], of: [Launcher::bare, Launcher::bare] }
        }
        () if arguments.accounts => Sides {
            names: ["ai-gateway", "with limits, budgets and ledger"],
            of: [Launcher::gateway, Launcher::accounting_gateway],
        },
        () if arguments.guardrail => Sides {
            names: ["ai-gateway", "with a regex guardrail"],
            of: [Launcher::gateway, Launcher::guarded_gateway],
        },
        () if arguments.against.is_some() => {
            Sides { names: ["the other build", "ai-gateway"], of: [Launcher::other_gateway, Launcher::gateway] }
        }
        () => Sides { names: ["bare Pingora", "ai-gateway"], of: [Launcher::bare, Launcher::gateway] },
    };
    runtime.block_on(compare(&launcher, &effort, &sides))
}

/// What is compared with what.
struct Sides {
    names: [&'static str; 2],
    of: [fn(&Launcher, SocketAddr) -> Result<Target>; 2],
}

async fn compare(launcher: &Launcher, effort: &Effort, sides: &Sides) -> Result<()> {
    let began = Instant::now();
    let machine = Machine::this();
    let upstream = launcher.upstream()?;
    let address = upstream.address();
    let [first, second] = sides.of.map(|start| move || start(launcher, address));

    let (mut bare_memory, mut gateway_memory) = (Vec::new(), Vec::new());
    for round in 1..=effort.memory_rounds {
        eprintln!("memory, round {round} of {}", effort.memory_rounds);
        bare_memory.push(MemoryUse::of(&first()?, effort).await?);
        gateway_memory.push(MemoryUse::of(&second()?, effort).await?);
    }

    let (bare, gateway) = (first()?, second()?);
    let targets = [&upstream, &bare, &gateway];
    rounds::warm_up(&targets).await?;
    let mut seen = [Rounds::default(), Rounds::default(), Rounds::default()];
    for index in 0..effort.rounds {
        eprintln!("load, round {} of {}", index + 1, effort.rounds);
        rounds::run(index, &targets, effort, &mut seen).await?;
    }

    println!("{}", render(&seen, &bare_memory, &gateway_memory, sides.names));
    println!(
        "Medians of {} alternating rounds ({:.0} s in all). \"direct\" is the upstream without a proxy, \"added\" is on top of it; \"translated\" is a client of Anthropic's dialect and an upstream of OpenAI's, compared with bare Pingora passing OpenAI's on.\n{machine}.",
        effort.rounds,
        began.elapsed().as_secs_f64()
    );
    let [first, second] = sides.names;
    eprintln!("\nCPU µs by round\n{first}: {}\n{second}: {}", seen[1].spread(), seen[2].spread());
    Ok(())
}

/// A folder for one run, removed at its end.
struct Scratch(PathBuf);

impl Scratch {
    fn create() -> io::Result<Self> {
        let path = std::env::temp_dir().join(format!("ai-gateway-bench-{}", std::process::id()));
        fs::create_dir_all(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// 1,000 streams need two descriptors each in a proxy. Where the soft limit is lower, starts this program again
/// under a shell that raised it; the targets inherit it.
fn raise_file_limit() -> Result<()> {
    const NEEDED: u64 = 4096;
    const MARK: &str = "AI_GATEWAY_BENCH_LIMIT_RAISED";
    let limits = fs::read_to_string("/proc/self/limits")?;
    let line = limits.lines().find(|line| line.starts_with("Max open files")).ok_or("no limit of open files")?;
    let soft = line.split_whitespace().nth(3).unwrap_or_default();
    if soft == "unlimited" || soft.parse::<u64>()? >= NEEDED {
        return Ok(());
    }
    if std::env::var_os(MARK).is_some() {
        return Err(format!("{NEEDED} open files are needed, and the limit cannot be raised").into());
    }
    let mut command = Command::new("sh");
    command.args(["-c", &format!("ulimit -n {NEEDED} && exec \"$0\" \"$@\"")]);
    command.arg(std::env::current_exe()?).args(std::env::args_os().skip(1)).env(MARK, "1");
    Err(Error::from(command.exec()))
}
