//! What the name of a model asks the mock to do.

use std::time::Duration;

/// Every behaviour that a model name can ask for, with what it does. `N` stands for a number, `T` for a time such as
/// `2s` or `300ms`. Names are joined with `+`: `lorem-50+slow-first-2s+crlf`. A vendor's prefix up to the last `/` or `.`
/// is ignored, and so is `claude-` after it, by which clouds tell Anthropic's models: `us.anthropic.claude-lorem-5`.
/// A fault `after-N` chunks comes with N + 10 words of lorem, unless the name says what else.
/// Any other name (`gpt-5`, `claude-sonnet-4-5`, …) answers like `echo`.
pub const BEHAVIOURS: &[(&str, &str)] = &[
    (
        "echo",
        "the text of the last user message, a chunk per word; images, audio and files are counted: `hi [1 image]`",
    ),
    (
        "lorem-N",
        "N words in N chunks; not streamed: the same words joined. max_tokens cuts it, with the finish reason for that",
    ),
    ("lorem-N-every-T", "the same, a chunk each T; not streamed: the answer after N times T"),
    (
        "inspect",
        "a JSON text of what the mock received: method, path, query, protocol, headers, body_len, body_sha256 and, up to 64 KiB, the body",
    ),
    ("json-NKiB", "a non-streamed answer of exactly N KiB; streamed: N KiB of text in chunks of 1 KiB"),
    ("reasoning", "reasoning (4 chunks), then the echo"),
    (
        "tool-call",
        "calls the first tool of the request (or `lookup`), arguments from its schema in several deltas; after a tool's result: a text that quotes it",
    ),
    ("tool-calls-N", "N calls at once, of the request's tools in turn"),
    (
        "reasoning-tool-call",
        "reasoning, then one call of the first tool; after a tool's result: a text that quotes it. Gemini: a call of the current turn that comes back without its signature is refused",
    ),
    (
        "tool-loop-N",
        "a call of the first tool in each of N turns, then a text that quotes the last result; Gemini: as reasoning-tool-call",
    ),
    (
        "script",
        "does what the lines of the user's text say, one in each turn: `CALL tool {json}` (or plain text with \\n), `SAY text`; then it says `done`",
    ),
    ("split-utf8", "text with multi-byte characters, written in pieces that cut inside a character"),
    ("never-ends", "a word each 100 ms until the client leaves; never-ends-every-T sets the time"),
    ("slow-first-T", "header and preamble at once, the first output after T"),
    ("slow-headers-T", "nothing at all before T"),
    ("drip-T", "the answer byte by byte, a byte each T (0ms: as fast as it goes)"),
    ("one-chunk", "the whole stream in one write"),
    ("crlf", "server-sent events with CRLF line ends"),
    ("comments", "a `: ping` comment before every event of the stream"),
    ("gzip", "content-encoding gzip, if the request accepts it; streams are flushed at each chunk"),
    (
        "prefill",
        "goes on with a last message of the model, if its own text begins so; without it, all is said again, as Mistral does",
    ),
    ("no-prefill", "400 if the last message is the model's"),
    ("usage-missing", "no usage anywhere, even if asked for"),
    (
        "usage-cached",
        "input 100, of which 60 read from and (anthropic) 10 written to a cache; output 20, of which 8 reasoning",
    ),
    ("length-after-N", "ends after N chunks for want of tokens: finish_reason length, max_tokens, response.incomplete"),
    (
        "content-filter-after-N",
        "ends after N chunks: finish_reason content_filter, refusal, response.incomplete, SAFETY, content_filtered, ERROR",
    ),
    (
        "status-S",
        "HTTP status S (100 times 4 or 5) with an error in the dialect's shape; status-S-retry-T adds retry-after",
    ),
    ("context-length", "400 context_length_exceeded"),
    ("content-filter", "400 content_filter"),
    ("insufficient-quota", "429 insufficient_quota"),
    ("error-event-first", "200, and the first event is an error; not streamed: 200 with an error body"),
    (
        "error-after-preamble",
        "200, role chunk or message_start, then an error event; not streamed: as error-event-first",
    ),
    ("error-after-N", "an error event after N chunks; not streamed: as error-event-first"),
    ("cut-header", "the connection is closed before the response header"),
    ("cut-before-output", "the connection is closed after the preamble; not streamed: after the header"),
    ("cut-after-N", "the connection is closed after N chunks; not streamed: in the middle of the body"),
    ("stall-header", "the response header never comes"),
    ("stall-before-output", "nothing more after the preamble; not streamed: after the header"),
    ("stall-after-N", "nothing more after N chunks; not streamed: after half of the body"),
    (
        "end-early-after-N",
        "a clean HTTP end after N chunks without the dialect's own end; not streamed: half a body, cleanly ended",
    ),
    ("garbage", "bytes that are not HTTP (HTTP/2: the stream is reset)"),
    ("garbage-body", "200 with a body that is neither JSON nor server-sent events"),
    (
        "malformed-after-N",
        "an event that is no JSON after N chunks, then the rest as if nothing had been; not streamed: as without",
    ),
    ("cut-at-byte-N", "the connection is closed after N bytes of the body, streamed or not, of an error too"),
    ("no-end-marker", "a complete stream without what only marks its end: `[DONE]`, message_stop"),
    ("half-chunk", "HTTP/1 chunked framing that ends inside a chunk (HTTP/2: the stream is reset in the body)"),
    ("bad-chunk", "HTTP/1 chunked framing with a chunk size that is no number (HTTP/2: as half-chunk)"),
    ("huge-header-NMiB", "a response header of N MiB (HTTP/2: refused by the protocol, so the stream is reset)"),
    (
        "flaky-P",
        "in P of 100 requests one of: status-500, status-503, status-429, cut-header, cut-before-output, cut-after-2, error-event-first",
    ),
    (
        "chaos-P-seed-S",
        "in P of 100 requests one of nearly all faults, drawn from the model's name and the user's text: the same request meets the same fault",
    ),
    ("early-chaos-P-seed-S", "the same with those faults only that strike before the first output"),
    ("first-N", "what goes wrong does so only in the first N requests of this model name; later ones go well"),
    ("close", "the connection is closed after the answer, as its header says"),
];

/// What is said, apart from how and whether it arrives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// The last user text.
    Echo,
    /// That many words.
    Lorem(u64),
    /// The request as the mock saw it.
    Inspect,
    /// An answer of that many bytes.
    Sized(usize),
    /// Reasoning, then the echo.
    Reasoning,
    /// That many tool calls.
    ToolCalls(usize),
    /// Reasoning, then a call.
    ReasoningToolCall,
    /// A call in each of that many turns.
    ToolLoop(u64),
    /// What the lines of the user's text say.
    Script,
    /// Text with characters of two to four bytes.
    MultiByte,
    /// Words without end.
    Endless,
}

/// How the bytes of a stream are cut into writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// One write per chunk.
    Chunks,
    /// A byte each time.
    Drip(Duration),
    /// Everything in one write.
    Once,
    /// Writes that end inside a multi-byte character.
    SplitUtf8,
}

/// How the usage is reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UsageForm {
    /// Words in, words out.
    Counted,
    /// Not at all.
    Missing,
    /// The fixed numbers of `usage-cached`.
    Cached,
}

/// What is done about a last message that is the model's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Prefill {
    /// It is one message more.
    Ignored,
    /// The answer goes on with it.
    Continued,
    /// It is refused.
    Refused,
}

/// Where in the answer a fault strikes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum At {
    /// Before the response header.
    Header,
    /// After the preamble, before the first output.
    Output,
    /// After that many chunks of output.
    After(u64),
}

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// An HTTP error, with the time to wait before a retry.
    Status(u16, Option<Duration>),
    /// 400, the prompt is too long.
    ContextLength,
    /// 400, the prompt is refused.
    ContentFilter,
    /// 429, the account has no money.
    InsufficientQuota,
    /// The connection is closed.
    Cut(At),
    /// Nothing more comes.
    Stall(At),
    /// An error event inside a 200; `At::Header` means as the very first event.
    ErrorEvent(At),
    /// A clean HTTP end without the dialect's own.
    EndEarly(u64),
    /// A normal end for want of tokens.
    Length(u64),
    /// A normal end by the output filter.
    OutputFilter(u64),
    /// An event that is no JSON after that many chunks; the stream goes on.
    Malformed(u64),
    /// The connection is closed after that many bytes of the body.
    CutAt(usize),
    /// Nothing marks the end of the stream.
    NoEndMarker,
    /// No HTTP.
    Garbage,
    /// No JSON, no events.
    GarbageBody,
    /// A chunk that is cut.
    HalfChunk,
    /// A chunk size that is no number.
    BadChunk,
    /// A header of that many bytes.
    HugeHeader(usize),
}

impl Fault {
    /// The number of chunks that must come before it.
    fn chunks(self) -> Option<u64> {
        match self {
            Fault::Cut(At::After(n))
            | Fault::Stall(At::After(n))
            | Fault::ErrorEvent(At::After(n))
            | Fault::EndEarly(n)
            | Fault::Malformed(n)
            | Fault::Length(n)
            | Fault::OutputFilter(n) => Some(n),
            _ => None,
        }
    }
}

/// The whole of what a model name asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Behaviour {
    /// What is said.
    pub content: Content,
    /// Time between two chunks.
    pub gap: Duration,
    /// Time before the response header.
    pub header_delay: Duration,
    /// Time between the preamble and the first output.
    pub first_delay: Duration,
    /// What goes wrong, if anything.
    pub fault: Option<Fault>,
    /// In how many requests it does, counted from the first; `None`: in all.
    pub first: Option<u64>,
    /// The connection is closed after the answer.
    pub close: bool,
    /// How the bytes are cut into writes.
    pub delivery: Delivery,
    /// CRLF line ends.
    pub crlf: bool,
    /// Comments before the events.
    pub comments: bool,
    /// Compressed, if the client takes it.
    pub gzip: bool,
    /// How the usage is reported.
    pub usage: UsageForm,
    /// What is done about a last message that is the model's own.
    pub prefill: Prefill,
}

impl Default for Behaviour {
    fn default() -> Self {
        Behaviour {
            content: Content::Echo,
            gap: Duration::ZERO,
            header_delay: Duration::ZERO,
            first_delay: Duration::ZERO,
            fault: None,
            first: None,
            close: false,
            delivery: Delivery::Chunks,
            crlf: false,
            comments: false,
            gzip: false,
            usage: UsageForm::Counted,
            prefill: Prefill::Ignored,
        }
    }
}

/// What `flaky-P` does.
const FLAKY: [Fault; 7] = [
    Fault::Status(500, None),
    Fault::Status(503, None),
    Fault::Status(429, None),
    Fault::Cut(At::Header),
    Fault::Cut(At::Output),
    Fault::Cut(At::After(2)),
    Fault::ErrorEvent(At::Header),
];

/// What `chaos-P` does; those before the output first.
const CHAOS: [Fault; EARLY + 4] = [
    Fault::Status(408, None),
    Fault::Status(429, None),
    Fault::Status(429, Some(Duration::from_millis(50))),
    Fault::Status(500, None),
    Fault::Status(502, None),
    Fault::Status(503, None),
    Fault::Status(529, None),
    Fault::Cut(At::Header),
    Fault::Cut(At::Output),
    Fault::ErrorEvent(At::Header),
    Fault::ErrorEvent(At::Output),
    Fault::Stall(At::Output),
    Fault::Garbage,
    Fault::GarbageBody,
    Fault::HalfChunk,
    Fault::BadChunk,
    Fault::Cut(At::After(2)),
    Fault::ErrorEvent(At::After(2)),
    Fault::EndEarly(2),
    Fault::CutAt(250),
];
const EARLY: usize = 16;

/// A number that depends on nothing else. (FNV-1a, then a finaliser: neighbouring texts must not get neighbouring numbers.)
fn drawn(model: &str, text: &str) -> u64 {
    let bytes = model.bytes().chain([0]).chain(text.bytes());
    let hash =
        bytes.fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
    let hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash ^ (hash >> 33)
}

impl Behaviour {
    /// Reads a model name. `dice` decides for `flaky-P`: its last two digits whether, and which fault. The others draw from
    /// the name and from `text`, what the user says.
    #[must_use]
    pub fn of(model: &str, dice: u64, text: &str) -> Self {
        let mut behaviour = Behaviour::default();
        let name = model.rsplit(['/', '.']).next().unwrap_or(model);
        let name = name.strip_prefix("claude-").unwrap_or(name);
        let mut said = false;
        for part in name.split('+') {
            let words: Vec<&str> = part.split('-').collect();
            said |= behaviour.apply_content(&words);
            behaviour.apply(&words, dice, &|| drawn(model, text));
        }
        if !said && let Some(n) = behaviour.fault.and_then(Fault::chunks) {
            behaviour.content = Content::Lorem(n.saturating_add(10));
        }
        behaviour
    }

    fn apply(&mut self, words: &[&str], dice: u64, draw: &dyn Fn() -> u64) {
        if self.apply_manner(words) {
            return;
        }
        let (dice, percent, kinds): (u64, _, &[Fault]) = match *words {
            ["flaky", percent] => (dice % 100, percent, &FLAKY),
            ["early", "chaos", percent, "seed", _] => (draw(), percent, &CHAOS[..EARLY]),
            ["chaos", percent, "seed", _] => (draw(), percent, &CHAOS),
            _ => {
                self.fault = fault(words).or(self.fault);
                return;
            }
        };
        if percent.parse().is_ok_and(|percent: u64| dice % 100 < percent) {
            let kind = if dice < 100 { dice } else { dice / 100 };
            self.fault = kinds.get(usize::try_from(kind % kinds.len() as u64).unwrap_or(0)).copied();
        }
    }

    fn apply_content(&mut self, words: &[&str]) -> bool {
        self.content = match *words {
            ["echo"] => Content::Echo,
            ["lorem", n] => match n.parse() {
                Ok(n) => Content::Lorem(n),
                Err(_) => return false,
            },
            ["lorem", n, "every", t] => match (n.parse(), duration(t)) {
                (Ok(n), Some(gap)) => {
                    self.gap = gap;
                    Content::Lorem(n)
                }
                _ => return false,
            },
            ["inspect"] => Content::Inspect,
            ["json", size] => match size.strip_suffix("KiB").and_then(|n| n.parse::<usize>().ok()) {
                Some(kib) => Content::Sized(kib.min(1 << 20) << 10),
                None => return false,
            },
            ["reasoning"] => Content::Reasoning,
            ["tool", "call"] => Content::ToolCalls(1),
            ["reasoning", "tool", "call"] => Content::ReasoningToolCall,
            ["tool", "loop", n] => match n.parse() {
                Ok(n) => Content::ToolLoop(n),
                Err(_) => return false,
            },
            ["script"] => Content::Script,
            ["tool", "calls", n] => match n.parse::<usize>() {
                Ok(n) => Content::ToolCalls(n.clamp(1, 100)),
                Err(_) => return false,
            },
            ["split", "utf8"] => {
                self.delivery = Delivery::SplitUtf8;
                Content::MultiByte
            }
            ["never", "ends"] => {
                self.gap = Duration::from_millis(100);
                Content::Endless
            }
            ["never", "ends", "every", t] => match duration(t) {
                Some(gap) => {
                    self.gap = gap;
                    Content::Endless
                }
                None => return false,
            },
            _ => return false,
        };
        true
    }

    fn apply_manner(&mut self, words: &[&str]) -> bool {
        match *words {
            ["slow", "first", t] => return duration(t).map(|t| self.first_delay = t).is_some(),
            ["slow", "headers", t] => return duration(t).map(|t| self.header_delay = t).is_some(),
            ["drip", t] => return duration(t).map(|t| self.delivery = Delivery::Drip(t)).is_some(),
            ["one", "chunk"] => self.delivery = Delivery::Once,
            ["crlf"] => self.crlf = true,
            ["comments"] => self.comments = true,
            ["gzip"] => self.gzip = true,
            ["close"] => self.close = true,
            ["first", n] => return n.parse().map(|n| self.first = Some(n)).is_ok(),
            ["prefill"] => self.prefill = Prefill::Continued,
            ["no", "prefill"] => self.prefill = Prefill::Refused,
            ["usage", "missing"] => self.usage = UsageForm::Missing,
            ["usage", "cached"] => self.usage = UsageForm::Cached,
            _ => return false,
        }
        true
    }
}

fn fault(words: &[&str]) -> Option<Fault> {
    Some(match *words {
        ["status", code] => Fault::Status(status(code)?, None),
        ["status", code, "retry", t] => Fault::Status(status(code)?, Some(duration(t)?)),
        ["context", "length"] => Fault::ContextLength,
        ["content", "filter"] => Fault::ContentFilter,
        ["content", "filter", "after", n] => Fault::OutputFilter(n.parse().ok()?),
        ["length", "after", n] => Fault::Length(n.parse().ok()?),
        ["insufficient", "quota"] => Fault::InsufficientQuota,
        ["error", "event", "first"] => Fault::ErrorEvent(At::Header),
        ["error", "after", "preamble"] => Fault::ErrorEvent(At::Output),
        ["error", "after", n] => Fault::ErrorEvent(At::After(n.parse().ok()?)),
        ["cut", "header"] => Fault::Cut(At::Header),
        ["cut", "before", "output"] => Fault::Cut(At::Output),
        ["cut", "after", n] => Fault::Cut(At::After(n.parse().ok()?)),
        ["stall", "header"] => Fault::Stall(At::Header),
        ["stall", "before", "output"] => Fault::Stall(At::Output),
        ["stall", "after", n] => Fault::Stall(At::After(n.parse().ok()?)),
        ["end", "early", "after", n] => Fault::EndEarly(n.parse().ok()?),
        ["malformed", "after", n] => Fault::Malformed(n.parse().ok()?),
        ["cut", "at", "byte", n] => Fault::CutAt(n.parse().ok()?),
        ["no", "end", "marker"] => Fault::NoEndMarker,
        ["garbage"] => Fault::Garbage,
        ["garbage", "body"] => Fault::GarbageBody,
        ["half", "chunk"] => Fault::HalfChunk,
        ["bad", "chunk"] => Fault::BadChunk,
        ["huge", "header", size] => {
            Fault::HugeHeader(size.strip_suffix("MiB")?.parse::<usize>().ok()?.min(1 << 10) << 20)
        }
        _ => return None,
    })
}

fn status(code: &str) -> Option<u16> {
    code.parse().ok().filter(|code| (400..600).contains(code))
}

/// `2s`, `300ms`, `50us`.
fn duration(text: &str) -> Option<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().ok()?;
    match unit {
        "s" => Some(Duration::from_secs(number)),
        "ms" => Some(Duration::from_millis(number)),
        "us" => Some(Duration::from_micros(number)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read() {
        let of = |name| Behaviour::of(name, 99, "");
        assert_eq!(of("lorem-100").content, Content::Lorem(100));
        let paced = of("lorem-7-every-20ms");
        assert_eq!((paced.content, paced.gap), (Content::Lorem(7), Duration::from_millis(20)));
        assert_eq!(of("slow-first-2s").first_delay, Duration::from_secs(2));
        assert_eq!(of("slow-headers-300ms").header_delay, Duration::from_millis(300));
        assert_eq!(of("status-429-retry-2s").fault, Some(Fault::Status(429, Some(Duration::from_secs(2)))));
        assert_eq!(of("cut-after-5").fault, Some(Fault::Cut(At::After(5))));
        assert_eq!(of("huge-header-10MiB").fault, Some(Fault::HugeHeader(10 << 20)));
        assert_eq!(of("json-4KiB").content, Content::Sized(4096));
        assert_eq!(of("cut-at-byte-7").fault, Some(Fault::CutAt(7)));
        assert_eq!(of("status-500+first-2").first, Some(2));
        assert_eq!(of("tool-calls-3").content, Content::ToolCalls(3));
        let prefills = [of("lorem-5").prefill, of("lorem-5+prefill").prefill, of("no-prefill").prefill];
        assert_eq!(prefills, [Prefill::Ignored, Prefill::Continued, Prefill::Refused]);
    }

    #[test]
    fn names_compose_and_lose_the_vendor() {
        let both = Behaviour::of("acme/lorem-5+crlf+cut-after-2", 99, "");
        assert_eq!(both.content, Content::Lorem(5));
        assert!(both.crlf);
        assert_eq!(Behaviour::of("us.anthropic.claude-tool-loop-3", 99, "").content, Content::ToolLoop(3));
        assert_eq!(both.fault, Some(Fault::Cut(At::After(2))));
    }

    #[test]
    fn other_names_echo() {
        for name in ["gpt-4o", "claude-sonnet-4-5", "", "lorem-x", "status-200", "slow-first-soon", "json-1MB", "a/b/"]
        {
            assert_eq!(Behaviour::of(name, 99, ""), Behaviour::default(), "{name}");
        }
    }

    #[test]
    fn flaky_follows_the_dice() {
        assert_eq!(Behaviour::of("flaky-30", 30, "").fault, None);
        assert_eq!(Behaviour::of("flaky-30", 29, "").fault, Some(Fault::Status(503, None)));
    }

    #[test]
    fn chaos_follows_the_text() {
        let of = |model: &str, i: usize| Behaviour::of(model, 0, &format!("request {i}")).fault;
        for (model, kinds) in [("echo+chaos-30-seed-1", CHAOS.len()), ("early-chaos-30-seed-1", EARLY)] {
            let met: Vec<Fault> = (0..10_000).filter_map(|i| of(model, i)).collect();
            assert!((2_800..3_200).contains(&met.len()), "{}", met.len());
            for kind in &CHAOS[..kinds] {
                let times = met.iter().filter(|fault| *fault == kind).count();
                assert!(times > met.len() / kinds / 2, "{kind:?}: {times}");
            }
            assert!(met.iter().all(|fault| CHAOS[..kinds].contains(fault)));
        }
        assert_eq!(of("a+chaos-30-seed-1", 7), of("a+chaos-30-seed-1", 7));
        let differ = (0..1000).filter(|i| of("a+chaos-30-seed-1", *i) != of("b+chaos-30-seed-1", *i)).count();
        assert!(differ > 300, "{differ}");
    }

    #[test]
    fn every_row_of_the_table_is_understood() {
        for (name, _) in BEHAVIOURS {
            let name = name.replace("-NKiB", "-2KiB").replace("-NMiB", "-1MiB").replace("status-S", "status-500");
            let name = name.replace("-N", "-3").replace("-T", "-3ms").replace("-P", "-100").replace("seed-S", "seed-1");
            if name != "echo" {
                assert_ne!(Behaviour::of(&name, 0, ""), Behaviour::default(), "{name} does nothing");
            }
        }
    }
}
