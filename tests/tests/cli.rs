//! The command line: what `run` and `check` refuse and how they say it, `schema`, and starting without a file.

use std::process::Command;

use ai_gateway_tests::client::{Request, exchange};
use ai_gateway_tests::{Gateway, Mock, binary, bodies, run_to_end};
use serde_json::Value;

const GOOD: &str = "[server]\nlisten = [\"127.0.0.1:0\"]\nadmin = \"127.0.0.1:0\"\n[providers.m]\nkind = \"mock\"\n";

#[test]
fn check_accepts_a_good_file() {
    let outcome = run_to_end(&["check", "{config}"], GOOD, &[]);
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
}

/// Alike for what runs a file and what checks it.
#[test]
fn a_file_is_named_with_its_option_or_without() {
    let bad = GOOD.replace("mock", "mok");
    for named in [&["{config}"][..], &["--config", "{config}"], &["-c", "{config}"]] {
        let good = run_to_end(&[&["check"], named].concat(), GOOD, &[]);
        assert_eq!(good.code, Some(0), "{named:?} {good:?}");
        for command in ["check", "run"] {
            let refused = run_to_end(&[&[command], named].concat(), &bad, &[]);
            assert!(refused.code == Some(1) && refused.stderr.contains(":5:"), "{command} {named:?} {refused:?}");
        }
    }
    let nothing = run_to_end(&["check"], GOOD, &[]);
    assert!(nothing.code == Some(2) && nothing.stderr.contains("<FILE|--config <FILE>>"), "{nothing:?}");
    let both = run_to_end(&["run", "a", "--config", "b"], GOOD, &[]);
    assert!(both.code == Some(2) && both.stderr.contains("cannot be used with"), "{both:?}");
}

/// As whoever runs it: the file may be named without an option, and an address as the file has it.
#[test]
fn the_running_gateway_is_named_in_every_way() {
    let config = "[server]\nadmin = \"localhost:1\"\n";
    for command in
        [&["reload"][..], &["status"], &["upgrade"], &["upgrade", "--timeout", "200000000000y"], &["cache", "show"]]
    {
        for named in [&["{config}"][..], &["--config", "{config}"], &["-c", "{config}"], &["--admin", "localhost:1"]] {
            let outcome = run_to_end(&[command, named].concat(), config, &[]);
            assert!(
                outcome.code == Some(1) && outcome.stderr.contains("no gateway listens on 127.0.0.1:1"),
                "{command:?} {named:?} {outcome:?}"
            );
        }
    }
}

/// Each refused with the place, what is wrong and what would be right; `run` refuses the same.
#[test]
fn bad_files_are_refused_with_their_place() {
    let with = |rest: &str| format!("{GOOD}{rest}");
    let cases = [
        (with("[sever]\nx = 1\n"), ":6:", &["sever", "server"][..]),
        (with("[models.a]\ntargets = [{ provider = \"mm\", model = \"x\" }]\n"), ":7:", &["mm", "m"]),
        (with("[models.a]\ntargets = [{ provider = \"m\", modle = \"x\" }]\n"), ":7:", &["modle", "model"]),
        (with("[models.a]\ntargets = []\n"), ":7:", &["targets"]),
        (GOOD.replace("admin", "max_body = \"32 monkeys\"\nadmin"), ":3:", &["32 monkeys", "MiB"]),
        (GOOD.replace("admin", "drain = \"10 minits\"\nadmin"), ":3:", &["10 minits"]),
        (GOOD.replace("\"127.0.0.1:0\"]", "\"127.0.0.1\"]"), ":2:", &["127.0.0.1"]),
        (with("[providers.o]\nkind = \"opennai\"\n"), ":7:", &["opennai", "openai"]),
        (with("[providers.o]\nkind = \"openai\"\napi_key = \"env:NOT_SET_ANYWHERE\"\n"), ":8:", &["NOT_SET_ANYWHERE"]),
        (with("[providers.o]\nkind = \"openai\"\napi_key = \"file:/does/not/exist\"\n"), ":8:", &["/does/not/exist"]),
        (with("[providers.o]\nkind = \"openai-compatible\"\nbase_url = \"https://\"\n"), ":8:", &["base_url"]),
        (with("[[keys]]\nname = \"a\"\nhash = \"sha256:zz\"\n"), ":8:", &["hash", "64"]),
        (with("[ledger]\npath = \"x.db\"\nsync = \"often\"\n"), ":8:", &["often", "30s"]),
        (
            with("[models.a]\ncache = { tll = \"1m\" }\ntargets = [{ provider = \"m\", model = \"x\" }]\n"),
            ":7:",
            &["tll", "ttl"],
        ),
        ("[server\nlisten = 1\n".to_owned(), ":1:", &[]),
    ];
    for (config, place, words) in cases {
        for command in [&["check", "{config}"][..], &["run", "--config", "{config}"]] {
            let outcome = run_to_end(command, &config, &[]);
            assert_eq!(outcome.code, Some(1), "{command:?}\n{config}\n{outcome:?}");
            let said = format!("{}{}", outcome.stdout, outcome.stderr);
            assert!(said.contains(place), "no {place} in:\n{said}\n{config}");
            for word in words {
                assert!(said.contains(word), "no {word:?} in:\n{said}\n{config}");
            }
            assert!(!said.contains("panicked"), "{said}");
        }
    }
    let twice = with(&format!(
        "[[keys]]\nname = \"a\"\nhash = \"{}\"\n[[keys]]\nname = \"a\"\nhash = \"{}\"\n",
        bodies::key_hash("x"),
        bodies::key_hash("y")
    ));
    let outcome = run_to_end(&["check", "{config}"], &twice, &[]);
    assert_eq!(outcome.code, Some(1), "a key name twice: {outcome:?}");
}

/// All mistakes at once, not one at a time.
#[test]
fn several_mistakes_are_all_told() {
    let config = format!(
        "{GOOD}[models.a]\ntargets = [{{ provider = \"nobody\", model = \"x\" }}]\n[models.b]\ntargets = []\n\
         [[keys]]\nname = \"k\"\nhash = \"short\"\n"
    );
    let outcome = run_to_end(&["check", "{config}"], &config, &[]);
    let said = format!("{}{}", outcome.stdout, outcome.stderr);
    for word in ["nobody", "targets", "hash"] {
        assert!(said.contains(word), "no {word} in:\n{said}");
    }
}

/// A message about a mistake beside a secret does not print it.
#[test]
fn messages_do_not_print_secrets() {
    for config in [
        format!("{GOOD}[providers.o]\nkind = \"openai\"\napi_key = \"sk-very-secret\"\nbogus = 1\n"),
        format!("{GOOD}[providers.o]\nkind = \"openai\"\napi_key = \"sk-very-secret\nx = 1\n"),
        format!("{GOOD}[providers.o]\nkind = \"openai\"\napi_kee = \"sk-very-secret\"\n"),
        format!("{GOOD}[providers.o]\nkind = \"openai\"\nbase_url = \"https://user:sk-very-secret@host/v1\"\n"),
    ] {
        let outcome = run_to_end(&["check", "{config}"], &config, &[]);
        assert!(!format!("{outcome:?}").contains("very-secret"), "{config}\n{outcome:?}");
    }
}

#[test]
fn the_schema_is_json() {
    let outcome = run_to_end(&["schema"], "", &[]);
    assert_eq!(outcome.code, Some(0));
    let schema: Value = serde_json::from_str(&outcome.stdout).expect("JSON");
    for section in ["server", "providers", "models", "keys"] {
        assert!(schema["properties"][section].is_object(), "{section}");
    }
}

/// What `run` could not open, `check` refuses as well, and both name the key and the path. Every message is whole lines.
#[test]
fn files_that_cannot_be_opened_are_refused_by_check_too() {
    for (rest, key, path) in [
        ("[store]\npath = \"/nowhere/keys.db\"\n", "store.path: ", "`/nowhere/keys.db`"),
        ("[access_log]\nto = \"file:/nowhere/a.log\"\n", "access_log.to: ", "`/nowhere/a.log`"),
        ("[ledger]\npath = \"/dev/null/l.db\"\n", "ledger.path: ", "`/dev/null`"),
        ("[ledger]\npath = \"l.db\"\nspool = \"/dev/null/s\"\n", "ledger.spool: ", "`/dev/null/s`"),
        ("[cache]\ndisk = { path = \"/dev/null/c\" }\n", "cache.disk.path: ", "`/dev/null/c`"),
        ("[[plugins]]\nuse = \"log\"\nfile = \"/nowhere/c.jsonl\"\n", "plugin `log`: ", "`/nowhere/c.jsonl`"),
    ] {
        for command in [&["check", "{config}"][..], &["run", "--config", "{config}"]] {
            let outcome = run_to_end(command, &format!("{GOOD}{rest}"), &[]);
            assert_eq!(outcome.code, Some(1), "{command:?} {rest}\n{outcome:?}");
            let last = outcome.stderr.lines().last().unwrap_or_default();
            assert!(
                last.starts_with("error: ") && last.contains(key) && last.contains(path),
                "{command:?} {rest}\n{outcome:?}"
            );
            assert!(outcome.stdout.is_empty() && outcome.stderr.ends_with('\n'), "{outcome:?}");
        }
    }
}

/// Errors are said once to be such, and end with their line, whichever command tells them.
#[test]
fn errors_and_verdicts_are_whole_lines() {
    let bad = GOOD.replace("mock", "mok");
    for command in [
        &["check", "{config}"][..],
        &["run", "--config", "{config}"],
        &["usage", "--config", "{config}"],
        &["explain", "--config", "{config}", "--path", "/v1/chat/completions", "{config}"],
    ] {
        let outcome = run_to_end(command, &bad, &[]);
        assert_eq!(outcome.code, Some(1), "{command:?} {outcome:?}");
        let prefixes = outcome.stderr.matches("error: ").count();
        assert!(prefixes == 1 && outcome.stderr.starts_with("error: "), "{command:?} {outcome:?}");
        assert!(outcome.stderr.ends_with('\n') && outcome.stdout.is_empty(), "{command:?} {outcome:?}");
    }
    let good = run_to_end(&["check", "{config}"], GOOD, &[]);
    assert!(good.stdout.ends_with("valid: 1 provider, 0 models, 0 keys\n"), "{good:?}");
    // What cannot be printed was not told.
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("gateway.toml");
    std::fs::write(&file, GOOD).unwrap();
    for arguments in [&["check", file.to_str().unwrap()][..], &["schema"], &["key", "new", "bot"]] {
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let output = Command::new(binary()).args(arguments).stdout(full).output().unwrap();
        let told = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {told}");
        assert!(told.starts_with("error: standard output: "), "{arguments:?}: {told}");
    }
}

/// What a command is given that it cannot use is refused in words.
#[test]
fn arguments_that_cannot_be_used_are_refused() {
    let cases: [(&[&str], &[&str]); 8] = [
        (&["key", "new", "a b"], &["a b", "1 to 128 letters"]),
        (&["key", "new", ""], &["1 to 128 letters"]),
        (&["mock", "--listen", "127.0.0.1:0", "--threads", "0"], &["--threads", "zero"]),
        (
            &["mock", "--listen", "127.0.0.1:0", "--tls-cert", "nofile", "--tls-key", "nofile"],
            &["--tls-cert: `nofile`: No such"],
        ),
        (
            &["mock", "--listen", "127.0.0.1:0", "--tls-cert", "{config}", "--tls-key", "nokey"],
            &["--tls-key: `nokey`: No such"],
        ),
        (&["usage"], &["--config <FILE>", "--ledger <FILE>"]),
        (&["usage", "--config", "a", "--ledger", "b"], &["cannot be used with"]),
        (&["usage", "rerate"], &["--config <FILE>"]),
    ];
    for (arguments, words) in cases {
        let outcome = run_to_end(arguments, GOOD, &[]);
        assert!(outcome.code.is_some_and(|code| code != 0), "{arguments:?} {outcome:?}");
        for word in words {
            assert!(outcome.stderr.contains(word), "{arguments:?}: no {word:?} in {}", outcome.stderr);
        }
        assert!(!outcome.stderr.contains("context:"), "{}", outcome.stderr);
    }
}

/// Commands of later issues do not exist as stubs.
#[test]
fn unknown_commands_are_refused() {
    for command in ["key", "reload", "upgrade", "status", "prices", "nonsense"] {
        let outcome = run_to_end(&[command], "", &[]);
        assert_ne!(outcome.code, Some(0), "{command}: {outcome:?}");
    }
}

/// The mock as a provider inside the gateway and as a server of its own answer alike.
#[tokio::test]
async fn the_mock_inside_and_outside() {
    let mock = Mock::start().await;
    let config = format!(
        "[providers.inside]\nkind = \"mock\"\n{}",
        bodies::openai_provider("outside", &format!("http://{}", mock.addr))
    );
    let gateway = Gateway::start(&config).await;
    for provider in ["inside", "outside"] {
        let body = bodies::chat(&format!("{provider}/echo"));
        let reply = exchange(gateway.addr, &Request::post("/v1/chat/completions", body)).await;
        assert_eq!(reply.status, 200, "{provider}: {}", reply.text());
        assert_eq!(reply.json()["choices"][0]["message"]["content"], "Hello", "{provider}: {}", reply.text());
        let body = bodies::chat_stream(&format!("{provider}/lorem-100"));
        let reply = exchange(gateway.addr, &Request::post("/v1/chat/completions", body)).await;
        assert!(reply.complete && reply.text().ends_with(bodies::DONE), "{provider}: {}", reply.text());
        let deltas =
            reply.text().lines().filter(|l| l.contains("\"content\":\"") && !l.contains("\"content\":\"\"")).count();
        assert!((100..=101).contains(&deltas), "{provider}: {deltas} chunks");
    }
    let reply = exchange(gateway.addr, &Request::post("/v1/messages", bodies::message("inside/echo", false))).await;
    assert_eq!(reply.json()["content"][0]["text"], "Hello", "{}", reply.text());
    let reply = exchange(gateway.addr, &Request::post("/v1/responses", bodies::response("inside/echo", false))).await;
    assert_eq!(reply.json()["output"][0]["content"][0]["text"], "Hello", "{}", reply.text());
}
