//! Every file in `bad/` is refused, with exactly these words.

use std::fs;

use super::*;

fn world() -> Fake {
    Fake::new()
        .with_var("SET", "sk-this-is-secret")
        .with_file("empty.key", "\n")
        .with_file("binary.key", [0xff, 0xfe])
        .with_file("google.json", r#"{"type":"service_account","client_email":"a","private_key":"sk-this-is-secret"}"#)
        .with_file("external.json", r#"{"type":"external_account"}"#)
        .with_file("insecure.json", r#"{"type":"authorized_user","token_uri":"http://example.com/token"}"#)
        .with_file("garbage.json", "{\"gpt-5\": 1}")
        .with_file("garbage.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
}

#[test]
fn each_is_refused_in_these_words() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/config/tests/bad");
    let mut files: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty());
    for file in files {
        let name = file.file_name().unwrap().to_str().unwrap();
        let text = fs::read_to_string(&file).unwrap();
        let errors = Config::parse(&text, name, &world()).expect_err(name);
        let mut shown = String::new();
        for warning in &errors.warnings {
            shown += &format!("{warning}\n\n");
        }
        for error in &errors.errors {
            shown += &format!("{error}\n\n");
        }
        assert!(!shown.contains("sk-this"), "{name} leaks a secret:\n{shown}");
        insta::with_settings!({ omit_expression => true, prepend_module_to_snapshot => false }, {
            insta::assert_snapshot!(name.trim_end_matches(".toml"), shown);
        });
    }
}

#[test]
fn a_file_that_is_no_text() {
    let world = Fake::new().with_file("a.toml", b"[server]\nlisten = \"\xff\"");
    let error = |name: &str| Config::load_with(Path::new(name), &world).unwrap_err().to_string();
    assert_eq!(error("a.toml"), "error: a.toml: line 2 is not UTF-8 text\n  = TOML is UTF-8: convert the file");
    assert_eq!(error("b.toml"), "error: b.toml: cannot be read: entity not found");
}

#[test]
fn no_more_errors_than_a_person_reads() {
    let text: String = (0..10_000).map(|index| format!("[server.x{index}]\n")).collect();
    let errors = Config::parse(&text, "a.toml", &Fake::new()).unwrap_err();
    assert!(errors.errors.len() <= 50);
}

#[test]
fn every_section_of_the_schema_is_read() {
    assert!(sections::NAMES.contains(&"server".to_owned()));
    for name in sections::NAMES.iter() {
        let errors = Config::parse(&format!("{name} = 1"), "a.toml", &Fake::new()).unwrap_err().to_string();
        assert!(errors.contains(&format!("`{name}` is ")), "{name}: {errors}");
    }
}
