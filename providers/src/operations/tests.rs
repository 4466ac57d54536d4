//! What the tests of all operations share.

use std::path::{Path, PathBuf};

use super::{About, Asked, Wire, translate_answer, translate_request, translates};
use crate::codec::{Call, Target};
use crate::dialect::Operation;
use crate::error::ErrorKind;

/// The folder of recordings; without it the tests skip, but never in CI.
pub(super) fn conformance() -> Option<PathBuf> {
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/conformance"));
    if folder.is_dir() {
        return Some(folder.to_owned());
    }
    assert!(std::env::var_os("CI").is_none(), "no recordings at {}", folder.display());
    eprintln!("SKIPPED: no recordings at {}", folder.display());
    None
}

pub(super) fn target() -> Target<'static> {
    crate::codec::testing::target()
}

/// A body with something for everyone.
const BODY: &str = r#"{"model":"m","prompt":"a","query":"a","documents":["a"],"input":"a","texts":["a"],"inputText":"a",
    "messages":[{"role":"user","content":"a"}],"max_tokens":1,"contents":[{"role":"user","parts":[{"text":"a"}]}],
    "content":{"parts":[{"text":"a"}]},"requests":[{"content":{"parts":[{"text":"a"}]}}],"instances":[{"content":"a"}],
    "singleEmbeddingParams":{"text":{"value":"a"}}}"#;

#[test]
fn what_translates_is_told_beforehand() {
    let call = Call { model: Some("m"), stream: false };
    for operation in Operation::ALL {
        for from in Wire::ALL {
            // Bedrock's count stands where OpenAI has its texts.
            let body = match (operation, from) {
                (Operation::CountTokens, Wire::Bedrock) => {
                    r#"{"input":{"converse":{"messages":[{"role":"user","content":[{"text":"a"}]}]}}}"#
                }
                // A stored prompt stands where images have their text.
                (Operation::CountTokens, Wire::OpenAiResponses) => r#"{"model":"m","input":"a"}"#,
                _ => BODY,
            };
            for to in Wire::ALL {
                let done = translate_request(operation, from, to, body.as_bytes(), &call, &target());
                let refused = done.as_ref().err().map(|error| error.kind);
                let wanted = (!translates(operation, from, to)).then_some(ErrorKind::NotSupported);
                assert_eq!(refused, wanted, "{operation}: {from:?} to {to:?}: {done:?}");
                if wanted.is_some() {
                    let answer = translate_answer(operation, to, from, b"{}", &Asked::default(), &About::default());
                    assert!(answer.is_err(), "{operation}: {to:?} to {from:?}");
                }
            }
        }
    }
}
